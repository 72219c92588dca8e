"""What a URL says of itself, without a library for what is behind it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

__all__ = ["SCHEMES", "WEB", "is_folder", "is_url", "shown"]

WEB = ("https", "http")
#: Schemes of URLs that can be read.
SCHEMES = ("s3", "s3a", "gs", "az", *WEB)


def is_url(given: object) -> bool:
    """Whether an input is a URL that can be read."""
    return isinstance(given, str) and given.partition("://")[0].lower() in SCHEMES and "://" in given


def is_folder(url: str) -> bool:
    """Whether a URL means several objects: it ends in a slash, or its key is a pattern. On the web `?` is none."""
    scheme, _, rest = url.partition("://")
    magic = r"[*\[]" if scheme.lower() in WEB else r"[*?\[]"
    path = rest.partition("?")[0] if scheme.lower() in WEB else rest
    return path.endswith("/") or re.search(magic, path.partition("/")[2]) is not None


def shown(url: str) -> str:
    """A URL for people to see, without user, password, query and fragment."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
