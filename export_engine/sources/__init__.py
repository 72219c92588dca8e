"""Where conversations come from: each source turns its input into record batches of `schema.ROW_SCHEMA`.

A source is any object with `batches(intake)`: an iterator of non-empty record batches of exactly that schema,
at most `MAX_ROWS` rows each, about `MAX_BYTES` bytes each (one huge row may be more), in the input's own order,
read lazily and closed by the generator's `close()`. A source renders nothing, filters nothing and never sorts.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from datetime import tzinfo
from typing import Protocol

import pyarrow as pa

__all__ = ["MAX_BYTES", "MAX_ROWS", "Intake", "Source"]

#: Bounds of one record batch; small enough for a flat memory, large enough that per-batch costs vanish.
MAX_ROWS = 12288
MAX_BYTES = 4 << 20


@dataclass(slots=True)
class Intake:
    """What a source has to know of the export, and the counts it hands back.

    `zone` is the time zone of naive times. With `strict` a lone surrogate is a RowError; without it it becomes
    U+FFFD and `replaced_surrogates` counts it. `ignored_columns` names a table's columns that are not exported.
    """

    zone: tzinfo
    strict: bool = False
    replaced_surrogates: int = 0
    ignored_columns: tuple[str, ...] = ()


class Source(Protocol):
    """Anything that can hand out its rows as record batches of `schema.ROW_SCHEMA`, once."""

    def batches(self, intake: Intake) -> Generator[pa.RecordBatch, None, None]:
        """Yield the rows; see the module's description for what is promised."""
        ...
