"""API keys: what an `X-API-Key` header must hold to be let in.

A key reads `ek_<id>_<secret>`. The id finds its row; of the secret, 256 random bits, only the SHA-256 is kept. A slow
hash with a salt protects what people choose, by making each guess dear; nobody guesses 256 bits, at any price, so it
would only make every request slow and let strangers keep the service busy.

Whoever asks learns one thing, whether the key holds here. The same work is done for an id that does not exist, and
digests are compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from datetime import datetime

from sqlalchemy import Engine, insert, select, update

from export_engine.errors import OptionError
from export_engine.jobs.backends.database import api_key, storable, writing
from export_engine.jobs.errors import UnauthorizedError

__all__ = ["SCOPE", "SqlKeys"]

#: "Workspace Events Notification", the scope that the API's page has keys made with.
SCOPE = "workspace_events_notification"

_FORM = re.compile(r"ek_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_NO_DIGEST = bytes(32)  # no secret has it: what a key is compared with if there is none of its id


class SqlKeys:
    """Keys in the database that `open_database` opened. Safe to share between threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writing = writing(engine)

    def create(self, workspace_id: str, *, scope: str = SCOPE, now: datetime) -> str:
        """Make a key that holds in that workspace for that scope; it cannot be read again later.

        Raises OptionError for a workspace that is no text to speak of: empty, or not storable.
        """
        if not workspace_id or not storable(workspace_id):
            raise OptionError("a key is made for a workspace: give its id", option="workspace_id")
        key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        row = {"id": key_id, "digest": _digest(secret), "workspace_id": workspace_id, "scope": scope}
        with self._writing.begin() as connection:
            connection.execute(insert(api_key).values(row | {"created_time": now, "revoked": False}))
        return f"ek_{key_id}_{secret}"

    def check(self, key: str | None, workspace_id: str, *, scope: str = SCOPE) -> None:
        """Raise UnauthorizedError unless the key holds in that workspace for that scope. Any text may be given."""
        match = _FORM.fullmatch(key or "")
        if match is None:
            raise UnauthorizedError
        key_id, secret = match.groups()
        query = select(api_key.c.digest, api_key.c.workspace_id, api_key.c.scope, api_key.c.revoked)
        with self._engine.begin() as connection:
            row = connection.execute(query.where(api_key.c.id == key_id)).one_or_none()
        known = hmac.compare_digest(_digest(secret), _NO_DIGEST if row is None else row.digest)
        if not known or row is None or row.revoked or (row.workspace_id, row.scope) != (workspace_id, scope):
            raise UnauthorizedError

    def revoke(self, key_id: str) -> bool:
        """Have a key hold no more, from now on. `key_id` is the part after `ek_`; False if there is no such key."""
        if not storable(key_id):
            return False
        revoked = update(api_key).where(api_key.c.id == key_id).values(revoked=True).returning(api_key.c.id)
        with self._writing.begin() as connection:
            return connection.execute(revoked).one_or_none() is not None


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
