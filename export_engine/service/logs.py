"""Logs as JSON Lines: one object a record, with the request it belongs to.

What is logged never holds a key or a download link: requests are logged by their path, without query or headers. Nor
does it hold rows of the jobs' database, which have people's addresses.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO

__all__ = ["KEY_ID", "REQUEST_ID", "JsonFormatter", "log_to"]

#: The id of the request that is being answered; threads that work for it have it too.
REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)

#: The id of the API key that the request has shown, once it is known to hold; no secret.
KEY_ID: ContextVar[str | None] = ContextVar("key_id", default=None)

#: What every record has; the rest came by `extra` and is written as it is.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


#: What PostgreSQL adds to an error: "Failing row contains (...)", with everything in it.
_DETAIL = re.compile(
    r"^DETAIL:.*?(?=^(?:HINT|QUERY|CONTEXT|LINE \d+):|^\[SQL|^\(Background|^Traceback |^The above |^During |\Z)",
    re.MULTILINE | re.DOTALL,
)


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time (UTC), level, logger, message, ids of request and key, what `extra` gave."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := REQUEST_ID.get():
            line["request"] = request_id
        if key_id := KEY_ID.get():
            line["key"] = key_id
        line |= {name: value for name, value in vars(record).items() if name not in _OWN}
        exception = self.formatException(record.exc_info) if record.exc_info else record.exc_text  # of another process
        if exception:
            line["exception"] = _DETAIL.sub("", exception)
        return json.dumps(line, default=str)


def log_to(stream: TextIO = sys.stderr, *, level: int = logging.INFO) -> None:
    """Send the process's logs to a stream as JSON Lines, in place of what handled them before."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=level, force=True)
