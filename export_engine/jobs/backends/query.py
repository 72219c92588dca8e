"""Conversations out of a database with tables of its own, by a query; its channels by a table or view `channel`.

The query is a text with `:channel_id`, and may have `:start` and `:end`, the moments at which the date range begins and
before which it ends: it then gives the database less to read. PostgreSQL gets them as moments, SQLite as text such as
2026-06-01T00:00:00Z. Where exports are by `created_at`, it is that of the conversations which they bound: such a
conversation is exported whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from export_engine.errors import OptionError, SchemaError
from export_engine.jobs.backends.sql import SqlDirectory, open_engine, span, spelling
from export_engine.jobs.backends.sql_schema import CHANNEL
from export_engine.jobs.ports import WorkspaceChannel
from export_engine.model import DateRange
from export_engine.options import ExportOptions
from export_engine.schema import CREATED_AT
from export_engine.sources import Source, SourceContext
from export_engine.sources.database import parameter_names, query_columns, read_database
from export_engine.sources.tables import wanted_columns

__all__ = ["QueryConversations", "open_query"]

_CHANNEL, _RANGE = "channel_id", frozenset({"start", "end"})


def open_query(url: str, query: str) -> tuple[SqlDirectory, QueryConversations]:
    """The channels of a database, and the conversations that a query finds for one of them.

    `url` is as `open_sql` takes it; of its tables the database needs `channel` alone, or a view. The query is as
    `read_database` takes it.

    Raises OptionError (`query`) for a query without `:channel_id`, with other parameters, without a column that is
    needed, or with `:start` or `:end` but no `created_at` (a conversation would be named after its first message in
    the range); SourceError for one that fails; and as `open_sql` does.
    """
    names = parameter_names(query)
    if _CHANNEL not in names:
        raise OptionError("the query has no :channel_id: every channel's export would hold all", option="query")
    if others := sorted(names - _RANGE - {_CHANNEL}):
        raise OptionError(f"the query has :{others[0]}; there are :channel_id, :start and :end", option="query")
    engine = open_engine(url, [CHANNEL])
    try:
        _check_columns(query_columns(url, query), filters=bool(names & _RANGE))
    except BaseException:
        engine.dispose()
        raise
    return SqlDirectory(engine), QueryConversations(url, query)


def _check_columns(columns: Sequence[str], *, filters: bool) -> None:
    """Raise OptionError unless a query has the columns that it needs; `filters` says whether it filters by time."""
    try:
        wanted_columns(columns, SourceContext(UTC))
    except SchemaError as error:
        raise OptionError(f"the query: {error}", option="query") from None
    if filters and CREATED_AT not in columns:
        raise OptionError(
            "the query filters by time and has no column created_at, so that conversations would be named after their "
            "first message in the range: select when each was created, as created_at",
            option="query",
        )


@dataclass(frozen=True, slots=True)
class QueryConversations:
    """The conversations that a query finds. It pickles, its URL's password included."""

    url: str = field(repr=False)
    query: str

    def conversations(self, channel: WorkspaceChannel, date_range: DateRange, options: ExportOptions) -> Source:
        """A channel's messages: the query's rows, streamed through a connection of their own."""
        first, after = span(date_range, options.tzinfo)
        values: dict[str, Any] = {_CHANNEL: self._written(channel), "start": first, "end": after}
        if self.url.startswith("sqlite"):  # which has no moments
            values |= {"start": _text(first), "end": _text(after)}
        return read_database(self.url, self.query, {name: values[name] for name in parameter_names(self.query)})

    def _written(self, channel: WorkspaceChannel) -> str:
        """The channel's id as the tables write it, as far as its own does: the query compares it with others."""
        engine = open_engine(self.url, [CHANNEL])
        try:
            with engine.connect() as connection:
                return spelling(connection, CHANNEL.c.id, channel.id)[0]
        finally:
            engine.dispose()


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
