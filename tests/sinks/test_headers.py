"""What a response says of the archive in it, read back by parsers of other people's."""

from __future__ import annotations

import re
from email import message_from_string, policy
from urllib.parse import unquote

from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.http import parse_options_header

from export_engine.sinks import download_headers

TEXT = (
    st.text()
    | st.text(st.sampled_from("a\"\\;=%\r\n\t '*,é字\U0001f600\x00\x7f\ud83d\ude02"))
    | st.from_regex(r"[A-Za-z0-9_.-]{1,40}\.zip", fullmatch=True)
)


def disposition(name: str) -> str:
    headers = download_headers(name)
    assert headers.keys() == {"Content-Type", "Content-Disposition"}
    assert headers["Content-Type"] == "application/zip"
    return headers["Content-Disposition"]


def sound(name: str) -> str:
    """Text as UTF-16 has it: surrogates in pairs are one character, others U+FFFD."""
    return name.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@given(TEXT)
@example('a"; filename="b.exe')
@example("a\r\nSet-Cookie: x=1")
@example("a\\")
@example("a%22b")
@example("")
def test_any_name_is_read_back(name: str) -> None:
    """Werkzeug's parser and that of the standard library give the name; neither finds anything else."""
    header = disposition(name)
    kind, options = parse_options_header(header)
    assert kind == "attachment"
    assert options == {"filename": sound(name)}
    read = message_from_string(f"Content-Disposition: {header}\n\n", policy=policy.compat32)
    assert read.keys() == ["Content-Disposition"]
    assert read.get_content_disposition() == "attachment"
    assert {key for key, _ in read.get_params([], header="content-disposition")} <= {
        "attachment",
        "filename",
        "filename*",
    }
    extended = re.search(r"filename\*=UTF-8''(.*)$", header)
    if extended is None:
        assert read.get_filename() == name.strip()  # the standard library strips what it has read
    else:
        assert unquote(extended[1], errors="strict") == sound(name)


@given(TEXT)
def test_any_name_makes_one_line(name: str) -> None:
    """Of printable ASCII, of the grammar of RFC 6266 and 8187, which nothing in a name can leave."""
    header = disposition(name)
    plain = r'filename="[ !#$&-\[\]-~]*"'
    extended = r"filename\*=UTF-8''(?:[A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-F]{2})*"
    assert re.fullmatch(rf"attachment; {plain}(?:; {extended})?", header)
    assert header.isascii()
    assert header.isprintable()


def test_the_name_of_an_export_is_given_plainly() -> None:
    """It is a slug; the extended form is for what needs it."""
    assert disposition("SMS_Support_2026-06_1c4639da.zip") == 'attachment; filename="SMS_Support_2026-06_1c4639da.zip"'
    assert disposition("é.zip") == "attachment; filename=\"_.zip\"; filename*=UTF-8''%C3%A9.zip"
