"""Where conversations come from: each source turns its input into record batches of `schema.ROW_SCHEMA`.

A source is any object with `batches(context)`: an iterator of non-empty record batches of exactly that schema,
at most `schema.MAX_BATCH_ROWS` rows and about `schema.MAX_BATCH_BYTES` bytes each, in the input's own order, read
lazily and closed by the generator's `close()`. A source renders nothing, filters nothing and never sorts.

A source of files also has `paths`, what it reads: paths, or descriptors that are open already (0 is standard input). No
sink writes over one of them.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from datetime import tzinfo
from typing import Protocol

import pyarrow as pa

__all__ = ["Source", "SourceContext"]


@dataclass(slots=True)
class SourceContext:
    """What a source has to know of the export, and the counts it hands back.

    `timezone` is that of naive times. With `strict` a lone surrogate is a RowError; without it it becomes
    U+FFFD and `replaced_surrogates` counts it. `ignored_columns` names a table's columns that are not exported.
    """

    timezone: tzinfo
    strict: bool = False
    replaced_surrogates: int = 0
    ignored_columns: tuple[str, ...] = ()


class Source(Protocol):
    """Anything that can hand out its rows as record batches of `schema.ROW_SCHEMA`, once."""

    def batches(self, context: SourceContext) -> Generator[pa.RecordBatch, None, None]:
        """Yield the rows; see the module's description for what is promised."""
        ...
