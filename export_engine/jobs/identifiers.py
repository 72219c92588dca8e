"""How ids and phone numbers are written, in requests, in paths and in files of channels alike."""

from __future__ import annotations

import re

__all__ = ["E164_PATTERN", "is_e164", "stored_uuid", "uuid_of", "uuid_spellings"]

#: E.164: `+`, the country code, which does not begin with 0, and the number; 15 digits at most. Also for JSON Schema.
E164_PATTERN = r"^\+[1-9][0-9]{1,14}$"

_E164 = re.compile(E164_PATTERN.removesuffix("$") + r"\Z")  # `$` would let a line end through
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_DIGITS = re.compile(r"([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})")


def is_e164(text: str) -> bool:
    """Whether a phone number has the form of E.164; not whether there is such a number."""
    return _E164.match(text) is not None


def uuid_of(text: str) -> str | None:
    """The UUID in lower case with hyphens, the one form that is stored and compared; None for what is no UUID.

    The one form that is taken is that with hyphens, in either case: no braces, no `urn:uuid:`, no digits alone. So
    requests have it; of files and tables see `stored_uuid`.
    """
    return text.lower() if _UUID.fullmatch(text) else None


def stored_uuid(text: str) -> str | None:
    """The UUID, as `uuid_of` gives it, that files or tables of others have: also with its 32 digits alone."""
    if (uuid := uuid_of(text)) is not None:
        return uuid
    digits = _DIGITS.fullmatch(text.lower())
    return "-".join(digits.groups()) if digits else None


def uuid_spellings(uuid: str) -> tuple[str, ...]:
    """All ways in which a table may have what `stored_uuid` knows, but for letters of both cases; any other text alone.

    The usual one is the first.
    """
    if uuid_of(uuid) is None:
        return (uuid,)
    lower = uuid.lower()
    digits = lower.replace("-", "")
    return tuple(dict.fromkeys((lower, lower.upper(), digits, digits.upper())))
