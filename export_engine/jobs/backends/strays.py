"""What is there and is exported for no channel: looked for apart, since no export would ever come across it.

A file under a wrong name, a row whose channel has no row: the archive of the channel that was meant is empty, or lacks
some of it, and nobody is told. So a service looks for them as it starts, and now and then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import sqlalchemy as sa

from export_engine.jobs.backends.files import FileDirectory
from export_engine.jobs.backends.sql_schema import CHANNEL, CONVERSATION, MESSAGE
from export_engine.jobs.identifiers import stored_uuid
from export_engine.jobs.phones import number_key

__all__ = ["EXAMPLES", "StrayKind", "Strays", "strays_of_files", "strays_of_tables"]

#: What is looked for: `file`s of conversations that are no channel's, `channel`s whose id or workspace no request can
#: name, `phone_number`s that none can name, `conversation`s without their channel, `message`s without a conversation.
StrayKind = Literal["file", "channel", "phone_number", "conversation", "message"]

#: How many of a kind are named.
EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Strays:
    """How many of a kind there are, and some of them: names of files, ids, numbers."""

    kind: StrayKind
    count: int
    examples: tuple[str, ...] = ()


def strays_of_files(directory: FileDirectory) -> list[Strays]:
    """The files and channels in a folder that no export reads. Raises as `FileDirectory.channels` does."""
    channels = directory.channels()
    ids = {channel.id for channel in channels}
    place = directory.folder / "conversations"
    names = sorted(path.name for path in place.iterdir()) if place.is_dir() else []
    files = [name for name in names if name[0] not in "._" and stored_uuid(name.split(".")[0]) not in ids]
    return [
        _strays("file", files),
        _strays("channel", [channel.id for channel in channels if stored_uuid(channel.workspace_id) is None]),
    ]


def strays_of_tables(engine: sa.Engine, *, channels_alone: bool = False) -> Iterator[Strays]:
    """The rows of the tables that no export reads, a kind at a time; with `channels_alone` those of `channel`.

    It may take as long as reading all conversations' ids, and where nothing guarantees that messages have one, theirs.
    Raises SQLAlchemy's errors.
    """
    c = CHANNEL.c
    with engine.connect() as connection:
        rows = connection.execute(sa.select(c.id, c.workspace_id, c.phone_number)).all()
    known = {stored_uuid(str(row.id)) for row in rows if stored_uuid(str(row.workspace_id))} - {None}
    unknown = [str(row.id) for row in rows if stored_uuid(str(row.id)) not in known]
    yield _strays("channel", unknown)
    numbers = (row.phone_number for row in rows)
    yield _strays("phone_number", [number for number in numbers if number is not None and number_key(number) is None])
    if channels_alone:
        return
    with engine.connect() as connection:
        of = sa.select(CONVERSATION.c.channel_id, sa.func.count()).group_by(CONVERSATION.c.channel_id)
        lost = {str(id_): count for id_, count in connection.execute(of) if stored_uuid(str(id_)) not in known}
        examples = tuple(f"of channel {id_}" for id_ in sorted(lost)[:EXAMPLES])
        yield Strays("conversation", sum(lost.values()), examples)
        if _always_has_conversation(engine):
            yield Strays("message", 0)
            return
        there = sa.exists().where(CONVERSATION.c.id == MESSAGE.c.conversation_id)
        alone = sa.select(MESSAGE.c.id).where(~there)
        count = connection.execute(sa.select(sa.func.count()).select_from(alone.subquery())).scalar_one()
        some = connection.execute(alone.limit(EXAMPLES)).scalars() if count else ()
        yield Strays("message", count, tuple(map(str, some)))


def _always_has_conversation(engine: sa.Engine) -> bool:
    """Whether the database sees to it that a message has a conversation; SQLite declares, and does not look."""
    if engine.dialect.name == "sqlite":
        return False
    keys = sa.inspect(engine).get_foreign_keys(MESSAGE.name)
    return any(
        key["referred_table"] == CONVERSATION.name and key["constrained_columns"] == ["conversation_id"] for key in keys
    )


def _strays(kind: StrayKind, found: Iterable[str]) -> Strays:
    listed = list(found)
    return Strays(kind, len(listed), tuple(islice(listed, EXAMPLES)))
