"""Where conversations come from: each source turns its input into record batches of `schema.ROW_SCHEMA`.

A source is any object with `batches(context)`: an iterator of non-empty record batches of exactly that schema,
at most `schema.MAX_BATCH_ROWS` rows and about `schema.MAX_BATCH_BYTES` bytes each, in the input's own order, read
lazily and closed by the generator's `close()`. A source renders nothing, filters nothing and never sorts.

A source of files also has `paths`, what it reads: paths, or descriptors that are open already (0 is standard input). No
sink writes over one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from export_engine.door import door
from export_engine.errors import SourceError
from export_engine.options import Epoch

if TYPE_CHECKING:
    from export_engine.sources.csv_file import read_csv
    from export_engine.sources.database import read_database
    from export_engine.sources.filtering import filtered
    from export_engine.sources.ipc import read_ipc
    from export_engine.sources.jsonl_flat import read_flat_jsonl
    from export_engine.sources.jsonl_nested import read_nested_jsonl
    from export_engine.sources.mapped import read_mapped
    from export_engine.sources.objects import from_conversations
    from export_engine.sources.open import open_source
    from export_engine.sources.parquet import read_parquet
    from export_engine.sources.rows import from_rows
    from export_engine.sources.sorting import sorted_rows
    from export_engine.sources.sql import read_sql
    from export_engine.sources.tables import from_arrow

__all__ = [
    "Source",
    "SourceContext",
    "filtered",
    "from_arrow",
    "from_conversations",
    "from_rows",
    "open_source",
    "read_csv",
    "read_database",
    "read_flat_jsonl",
    "read_ipc",
    "read_mapped",
    "read_nested_jsonl",
    "read_parquet",
    "read_sql",
    "sorted_rows",
]

#: Where the sources stand: each is loaded, with the library that it needs, when it is first asked for.
_LOADED_WHEN_USED = {
    "filtered": "filtering",
    "from_arrow": "tables",
    "from_conversations": "objects",
    "from_rows": "rows",
    "open_source": "open",
    "read_csv": "csv_file",
    "read_database": "database",
    "read_flat_jsonl": "jsonl_flat",
    "read_ipc": "ipc",
    "read_mapped": "mapped",
    "read_nested_jsonl": "jsonl_nested",
    "read_parquet": "parquet",
    "read_sql": "sql",
    "sorted_rows": "sorting",
}

__getattr__, __dir__ = door(globals(), _LOADED_WHEN_USED)


@dataclass(slots=True)
class SourceContext:
    """What a source has to know of the export, and the counts it hands back.

    `timezone` is that of naive times, `epoch` what times that are numbers count since 1970 (None: they are refused).
    With `strict` a lone surrogate is a RowError; without it it becomes U+FFFD and `replaced_surrogates` counts it.
    `ignored_columns` names a table's columns that are not exported, `naive_times` counts message times without an
    offset.

    `refused`, for who wants to know of every bad value, is called with each RowError, and SourceError of a line or of
    what is no row, that then is not raised: the value is null, an id empty, a line left out, and reading goes on. It
    returns whether to look for more in that column of the batch; if not, what follows there is null.

    `last_whole` is the last conversation of those sources that give whole ones, and where it stands: the next must be
    another (see `sources.whole`), unless rows are sorted afterwards and it may come `in_parts`.

    `channel` is the one that rows said first, and where: no other may follow (see `sources.channels`).

    `is_csv` is set by those that read CSV: a spreadsheet may have made it, and written long numbers as 1.23E+15.

    A source that knows how much it has to read sets `share`, which tells how much of it has been read, from 0 to 1.

    `submit`, where there are more threads than the one that reads, starts a task (a function and its arguments) in one
    of them and returns what waits for its result, which whoever waits may have to work out. What was started and not
    waited for is dropped with the export.
    """

    timezone: tzinfo
    strict: bool = False
    epoch: Epoch | None = None
    replaced_surrogates: int = 0
    ignored_columns: tuple[str, ...] = ()
    naive_times: int = 0
    refused: Callable[[SourceError], bool] | None = None
    is_csv: bool = False
    share: Callable[[], float | None] | None = None
    last_whole: tuple[str, str] | None = None
    in_parts: bool = False
    channel: tuple[str, str] | None = None
    submit: Callable[..., Callable[[], Any]] | None = None

    def counts(self) -> tuple[int, int]:
        """What has been counted, to go back to by `recount` where values are read again."""
        return self.replaced_surrogates, self.naive_times

    def recount(self, counts: tuple[int, int]) -> None:
        """Go back to what had been counted."""
        self.replaced_surrogates, self.naive_times = counts

    def apart(self) -> SourceContext:
        """The same for a task that may run in another thread: it counts for itself, and bad values are raised."""
        return replace(self, refused=None, replaced_surrogates=0, naive_times=0)

    def add(self, apart: SourceContext) -> None:
        """Add what a task has counted."""
        self.replaced_surrogates += apart.replaced_surrogates
        self.naive_times += apart.naive_times

    def note_naive(self, count: int) -> None:
        """Count message times without an offset."""
        self.naive_times += count


class Source(Protocol):
    """Anything that can hand out its rows as record batches of `schema.ROW_SCHEMA`, once."""

    def batches(self, context: SourceContext) -> Generator[pa.RecordBatch, None, None]:
        """Yield the rows; see the module's description for what is promised."""
        ...
