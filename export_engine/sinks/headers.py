"""What a web server says of an archive that it sends."""

from __future__ import annotations

from urllib.parse import quote

__all__ = ["download_headers"]

#: What needs no percent-encoding in a parameter's value besides letters and digits (RFC 8187, `attr-char`).
_ATTR_CHARS = "!#$&+-.^_`|~"


def download_headers(file_name: str) -> dict[str, str]:
    """`Content-Type`, and `Content-Disposition` that has a browser save the response as `file_name` (RFC 6266).

    A name that is not ASCII, or holds what could end the header or its quotes, is given in the extended form (RFC 8187)
    behind a plain one in which such characters are `_`.
    """
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in file_name)
    disposition = f'attachment; filename="{plain}"'
    if plain != file_name:
        disposition += f"; filename*=UTF-8''{quote(file_name, safe=_ATTR_CHARS)}"
    return {"Content-Type": "application/zip", "Content-Disposition": disposition}
