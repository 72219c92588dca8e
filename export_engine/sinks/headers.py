"""What a web server or a store says of an archive that it hands out."""

from __future__ import annotations

from urllib.parse import quote

__all__ = ["download_headers"]

#: What needs no percent-encoding in a parameter's value besides letters and digits (RFC 8187, `attr-char`).
_ATTR_CHARS = "!#$&+-.^_`|~"


def download_headers(file_name: str) -> dict[str, str]:
    """`Content-Type`, and `Content-Disposition` that has a browser save the response as `file_name` (RFC 6266).

    Any text makes a header of printable ASCII that is one line and cannot be left by a quote. A name that is not ASCII,
    or holds what could end the header or its quotes, is given in the extended form (RFC 8187) behind a plain one in
    which such characters are `_`; lone surrogates are U+FFFD in it. What a name may mean to a file system (`../`) is
    the client's to judge, and every browser drops it; an export's own `file_name` never has it.
    """
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in file_name)
    disposition = f'attachment; filename="{plain}"'
    if plain != file_name:
        text = file_name.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        disposition += f"; filename*=UTF-8''{quote(text, safe=_ATTR_CHARS)}"
    return {"Content-Type": "application/zip", "Content-Disposition": disposition}
