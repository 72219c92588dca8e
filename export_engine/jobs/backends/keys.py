"""API keys: what an `X-API-Key` header must hold to be let in.

A key reads `ek_<id>_<secret>`. The id finds its row, and tells in logs and of jobs which key it was; of the secret,
256 random bits, only the SHA-256 is kept. A slow hash with a salt protects what people choose, by making each guess
dear; nobody guesses 256 bits, at any price, so it would only make every request slow and let strangers keep the service
busy.

Whoever asks learns one thing, whether the key holds here. The same work is done for an id that does not exist, and
digests are compared in constant time.

When a key was last used is kept to the minute: one write a minute at most, which no request waits for.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from sqlalchemy import Engine, insert, or_, select, update
from sqlalchemy.exc import DBAPIError

from export_engine.errors import OptionError
from export_engine.jobs.backends.database import storable, writing
from export_engine.jobs.backends.tables import api_key
from export_engine.jobs.errors import UnauthorizedError

__all__ = ["SCOPE", "USED_EVERY", "KeyInfo", "SqlKeys"]

#: "Workspace Events Notification", the scope that the API's page has keys made with.
SCOPE = "workspace_events_notification"

#: How exactly it is known when a key was last used.
USED_EVERY = timedelta(minutes=1)

_FORM = re.compile(r"ek_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_NO_DIGEST = bytes(32)  # no secret has it: what a key is compared with if there is none of its id


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What is known of a key; times are aware, in UTC. Nothing of its secret is."""

    id: str
    workspace_id: str
    scope: str
    name: str | None
    created_time: datetime
    expires_time: datetime | None
    used_time: datetime | None
    revoked: bool


class SqlKeys:
    """Keys in the database that `open_database` opened. Safe to share between threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(
        self,
        workspace_id: str,
        *,
        scope: str = SCOPE,
        now: datetime,
        name: str | None = None,
        expires: datetime | None = None,
    ) -> str:
        """Make a key that holds in that workspace for that scope, until it expires; it cannot be read again later.

        `name` says what it is for, `expires` is aware. Raises OptionError for a workspace or name that is no text to
        speak of (empty, or not storable), and for an end that is past.
        """
        if not workspace_id or not storable(workspace_id):
            raise OptionError("a key is made for a workspace: give its id", option="workspace_id")
        if name is not None and not (name and name.isprintable() and storable(name)):
            raise OptionError("a key's name is a line of text: give one, or none", option="name")
        if expires is not None and expires <= now:
            raise OptionError(f"the key would have expired at {expires}: give a later time", option="expires")
        key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        row = {"id": key_id, "digest": _digest(secret), "workspace_id": workspace_id, "scope": scope}
        facts = {"created_time": now, "revoked": False, "name": name, "expires_time": expires}
        with writing(self._engine) as connection:
            connection.execute(insert(api_key).values(row | facts))
        return f"ek_{key_id}_{secret}"

    def check(self, key: str | None, workspace_id: str, *, scope: str = SCOPE, now: datetime) -> str:
        """The key's id, if it holds in that workspace for that scope; else UnauthorizedError. Any text may be given."""
        match = _FORM.fullmatch(key or "")
        if match is None:
            raise UnauthorizedError
        key_id, secret = match.groups()
        with self._engine.begin() as connection:
            row = connection.execute(select(api_key).where(api_key.c.id == key_id)).one_or_none()
        known = hmac.compare_digest(_digest(secret), _NO_DIGEST if row is None else row.digest)
        if not known or row is None or row.revoked or (row.workspace_id, row.scope) != (workspace_id, scope):
            raise UnauthorizedError
        if row.expires_time is not None and row.expires_time <= now:
            raise UnauthorizedError
        if row.used_time is None or row.used_time <= now - USED_EVERY:
            self._note_use(key_id, now)
        return key_id

    def revoke(self, key_id: str) -> bool:
        """Have a key hold no more, from now on. `key_id` is the part after `ek_`; False if there is no such key."""
        if not storable(key_id):
            return False
        revoked = update(api_key).where(api_key.c.id == key_id).values(revoked=True).returning(api_key.c.id)
        with writing(self._engine) as connection:
            return connection.execute(revoked).one_or_none() is not None

    def all(self) -> list[KeyInfo]:
        """Every key, the oldest first; those that hold no more are among them."""
        columns = [api_key.c[field.name] for field in fields(KeyInfo)]
        with self._engine.begin() as connection:
            rows = connection.execute(select(*columns).order_by(api_key.c.created_time, api_key.c.id))
            return [KeyInfo(**row) for row in rows.mappings()]

    def _note_use(self, key_id: str, now: datetime) -> None:
        unless_noted = or_(api_key.c.used_time.is_(None), api_key.c.used_time <= now - USED_EVERY)
        noted = update(api_key).where(api_key.c.id == key_id, unless_noted).values(used_time=now)
        # A database that is locked just now has the next use noted, and no request waits for it.
        with suppress(DBAPIError), writing(self._engine, patience=timedelta(0)) as connection:
            connection.execute(noted)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
