"""What no JSON Schema says of a request: that its days are in order and not to come, which numbers and mail domains
there are, which cursors the service has given, and which keys other requests have.

With this, every request that the schema allows must be accepted.
"""  # noqa: D205  # one sentence

from __future__ import annotations

import re
from itertools import count
from typing import Any

import schemathesis

from export_engine.jobs.idempotency import KEY_PATTERN

_NUMBERS = count()
_NUMBER, _DOMAIN, _MAY = "+12025550123", "example.com", "2026-05"


@schemathesis.hook
def map_body(_: schemathesis.HookContext, body: Any) -> Any:
    """Put the days in order and before the service's today; numbers and domains that exist for those of right form."""
    if not isinstance(body, dict):
        return body
    days: list[Any] = [body.get("start_date"), body.get("end_date")]
    if all(isinstance(day, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", day) for day in days):
        body["start_date"], body["end_date"] = sorted(_MAY + day[7:] if day > _MAY else day for day in days)
    if re.fullmatch(r"\+[1-9][0-9]{1,14}", str(body.get("phone_number"))):
        body["phone_number"] = _NUMBER
    if found := re.fullmatch(r"([^@]+)@[^@]+", str(body.get("notification_email"))):
        body["notification_email"] = f"{found[1]}@{_DOMAIN}"
    return body


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:  # noqa: ARG001  # a hook's parameter
    """Leave out a cursor of the right form, which the service has not given; have each request its own key."""
    if re.fullmatch(r"[A-Za-z0-9_-]+", str((case.query or {}).get("cursor", ""))):
        del case.query["cursor"]
    if re.fullmatch(KEY_PATTERN, str(dict(case.headers or {}).get("Idempotency-Key", ""))):
        case.headers["Idempotency-Key"] = f"{next(_NUMBERS)}"
