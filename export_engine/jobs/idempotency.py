"""A request that its client has named, so that it can be sent again: `Idempotency-Key`.

As in the IETF's draft-ietf-httpapi-idempotency-key-header: the same key with the same request gives the answer that was
given before, with another request it is refused. A key is a structured field's string (RFC 8941), as the draft has it,
or bare, as most clients send it; the quotes are no part of it. It is a workspace's own, for as long as its job is kept.
"""

from __future__ import annotations

import json
import re
from hashlib import sha256

from export_engine.jobs.errors import InvalidRequestError, Problem
from export_engine.jobs.ports import Idempotency
from export_engine.jobs.request import ExportRequest

__all__ = ["KEY_PATTERN", "idempotency_of"]

#: A key, quoted or bare, of 1 to 255 characters of ASCII; bare, without blanks, commas, semicolons and quotes. Also for
#: JSON Schema.
KEY_PATTERN = r'^("([ !#-\[\]-~]|\\["\\]){1,255}"|[!#-+\--:<-~]{1,255})$'

_KEY = re.compile(KEY_PATTERN.removesuffix("$") + r"\Z")  # `$` would let a line end through


def idempotency_of(header: str, request: ExportRequest) -> Idempotency:
    """What the header `Idempotency-Key` names, and the request it stands for. Raises InvalidRequestError.

    Requests are the same if they ask for the same, however their JSON is written.
    """
    if _KEY.match(header) is None:
        message = (
            "must be 1 to 255 characters of printable ASCII, such as a UUID; blanks, commas and semicolons in quotes"
        )
        raise InvalidRequestError([Problem("Idempotency-Key", message, "header")])
    key = re.sub(r"\\(.)", r"\1", header[1:-1]) if header.startswith('"') else header
    text = json.dumps(request.model_dump(mode="json"), sort_keys=True)
    return Idempotency(key, sha256(text.encode()).hexdigest())
