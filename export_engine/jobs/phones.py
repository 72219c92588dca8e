"""Phone numbers: which are well written, and which are one number written in two ways.

E.164 has one way to write a number, but numbering plans have changed, and systems differ in which plan they follow:

- Mexico had a 1 behind +52 for mobile phones until 2019, and WhatsApp keeps it: +52 1 55 1234 5678 is +52 55 1234 5678.
- Argentina has a 9 behind +54 for mobile phones that many leave out: +54 9 11 2345 6789, +54 11 2345 6789.
- Brazil put a 9 in front of the eight digits of mobile phones until 2016, and WhatsApp leaves it out for older
  accounts: +55 31 98765 4321, +55 31 8765 4321. Eight digits of a fixed line begin with 2 to 5.

A channel is looked up by either. Two channels of a workspace with both have the same number, as if they were written
alike: the request then needs a type or an id, and never gets the one that was not meant.
"""

from __future__ import annotations

import re

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat, ValidationResult

__all__ = ["LAST_DIGITS", "number_key", "number_problem", "same_number"]

#: Digits at the end of a number that every way to write it has.
LAST_DIGITS = 2

_PLANS = (
    (re.compile(r"\+521([0-9]{10})"), r"+52\1"),
    (re.compile(r"\+549([0-9]{10})"), r"+54\1"),
    (re.compile(r"\+55([0-9]{2})9([6-9][0-9]{7})"), r"+55\1\2"),
)


def number_key(text: str) -> str | None:
    """One text for all ways to write a number, to compare by; None for what is no international number."""
    try:
        written = _written(text)
    except NumberParseException:
        return None
    for pattern, plain in _PLANS:
        if match := pattern.fullmatch(written):
            return match.expand(plain)
    return written


def _written(text: str) -> str:
    """A number as E.164 has it. Each reading takes one trunk prefix away, and what is left may begin with another."""
    written: str = phonenumbers.format_number(phonenumbers.parse(text), PhoneNumberFormat.E164)
    return written if written == text else _written(written)


def same_number(one: str, other: str) -> bool:
    """Whether both are the same number, in whatever way each is written."""
    if one == other:
        return True
    return (
        one[-LAST_DIGITS:] == other[-LAST_DIGITS:] and (key := number_key(one)) is not None and key == number_key(other)
    )


def number_problem(text: str) -> str | None:
    """What is wrong with a number that has the form of E.164, as advice; None if nothing is."""
    try:
        number = phonenumbers.parse(text)
        key = phonenumbers.parse(number_key(text) or text)
        written = _written(text)
    except NumberParseException:
        return "is not a possible phone number: its country code is unknown"
    # The older of two ways may have digits too many for today's plan.
    if ValidationResult.IS_POSSIBLE not in map(phonenumbers.is_possible_number_with_reason, (number, key)):
        return "is not a possible phone number: it has too few or too many digits"
    if written != text:
        # A trunk prefix, as in +44 (0)20 7946 0000.
        return f"is not in E.164 format: write {written}"
    return None
