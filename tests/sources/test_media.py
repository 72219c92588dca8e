"""Media URLs: lists of any kind and text of both kinds are the same text."""

from __future__ import annotations

import json
from collections import UserList
from datetime import UTC
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine.sources import SourceContext
from export_engine.sources.media import media, media_of
from export_engine.sources.refusal import BadValue

URL = st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.sampled_from([",", "https://a/1,2", '"', "["])


def read(values: list[Any], **options: Any) -> list[str | None]:
    """From text in a column and among Python's values, which are held to be the same."""
    found: list[str | None] = media_of(values, SourceContext(UTC, **options)).to_pylist()
    assert media(pa.array(values, pa.string()), SourceContext(UTC, **options)).to_pylist() == found
    return found


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.none() | st.lists(URL, max_size=3), max_size=5), st.sampled_from([None, 1]))
def test_lists_and_json_are_the_same(lists: list[list[str] | None], indent: int | None) -> None:
    """As tuples, lists, other sequences, Arrow's lists, and JSON with or without white space between its tokens."""
    expected = [",".join(url.replace(",", "%2C") for url in urls) if urls else None for urls in lists]
    context = SourceContext(UTC)
    for kind in (list, tuple, UserList):
        assert media_of([urls and kind(urls) for urls in lists], context).to_pylist() == expected
    assert media(pa.array(lists, pa.list_(pa.string())), context).to_pylist() == expected
    texts = [None if urls is None else json.dumps(urls, indent=indent) for urls in lists]
    assert read(texts) == expected
    assert read([None if text is None else f" \n{text}\t" for text in texts]) == expected


@settings(deadline=None)
@given(st.lists(st.none() | st.text("a,:/é", max_size=5), max_size=5))
def test_other_text_stays_as_it_is(texts: list[str | None]) -> None:
    """It is parted by commas already, or one URL; empty text is not null."""
    assert read(texts) == texts


@pytest.mark.parametrize(
    "text", ["[a](b)", "[", "[1:2]", "['a']", "[a,b]", '["a"', '["a"] x', '["a"]\n["b"]', "[" * 9999]
)
def test_text_that_only_begins_like_an_array(text: str) -> None:
    """It is no JSON, so it is text: a link, a part of an address, another language's list."""
    assert read([text, '["a"]', None, "b"]) == [text, "a", None, "b"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('["a", null]', "null"),
        ("[null]", "null"),
        ("[1]", "something else"),
        ('["a", ["b"]]', "something else"),
        ('[{"url": "a"}]', "something else"),
        ("[true]", "something else"),
    ],
)
def test_an_array_of_something_else_is_refused(text: str, problem: str) -> None:
    """With its place, as text and as a list of Python's."""
    for values in ([None, "x", text, '["a"]'], [None, "x", json.loads(text), ["a"]], [None, [], json.loads(text)]):
        with pytest.raises(BadValue, match=problem) as caught:
            media_of(values, SourceContext(UTC))
        assert caught.value.at == 2
    with pytest.raises(BadValue, match=problem) as caught:
        media(pa.array([None, "x", text]), SourceContext(UTC))
    assert caught.value.at == 2


@pytest.mark.parametrize("value", [0, 1, 1.5, {}, {"a": "b"}, set(), {"a"}, b"", b"a", False, iter(["a"])])
def test_what_is_no_list_is_refused(value: Any) -> None:
    """Also where it is empty, or has no order."""
    for values in ([None, value], [["a"], value], ["a", value]):
        with pytest.raises(BadValue, match="not a list of URLs") as caught:
            media_of(values, SourceContext(UTC))
        assert caught.value.at == 1


def test_surrogates_within_urls() -> None:
    """Pairs are joined, lone ones replaced and counted, in lists and in JSON."""
    context = SourceContext(UTC)
    values = [["\ud83d\ude02", "\ud83d"], '["\\ud83d\\ude02", "\\ud83d"]', "\ud83d\ude02"]
    assert media_of(values, context).to_pylist() == ["😂,\ufffd", "😂,\ufffd", "😂"]
    assert context.replaced_surrogates == 2
    with pytest.raises(BadValue, match="lone surrogate") as caught:
        media_of([None, *values], SourceContext(UTC, strict=True))
    assert caught.value.at in (1, 2)
