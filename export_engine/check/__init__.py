"""A look at a source before it is exported: everything that is wrong at once, and what the export would take.

The export is rehearsed: its own pipeline reads the rows and its bytes are dropped, so that the answer to "would it
succeed" is its own. What is wrong is looked for beside it, by the same rules: bad values where they are read
(`SourceContext.refused`), the rest a group of rows at a time. Once something is wrong the rehearsal ends, and the
looking goes on.

Memory is the pipeline's, and 16 bytes a conversation.
"""

from __future__ import annotations

from contextlib import closing
from datetime import date
from typing import Any, Unpack

from export_engine.check.findings import Findings
from export_engine.check.look import Look
from export_engine.check.report import CheckReport, Example, Problem
from export_engine.errors import ArchiveError, GroupingError, RowError
from export_engine.model import Channel, DateRange
from export_engine.options import ExportOptions, OptionKeywords, check_kind, chosen_options
from export_engine.pipeline.flow import Pipeline
from export_engine.pipeline.grouping import groups
from export_engine.pipeline.members import member_spec
from export_engine.pipeline.workers import Workers
from export_engine.pipeline.writer import Writer
from export_engine.sources import SourceContext
from export_engine.sources.open import source_of

__all__ = ["CheckReport", "Example", "Problem", "check_source"]


def check_source(
    source: Any,
    *,
    date_range: DateRange | None = None,
    options: ExportOptions | None = None,
    **keywords: Unpack[OptionKeywords],
) -> CheckReport:
    """Read a source to its end and tell everything that an export of it would stumble over, and what it would take.

    `source`, `options` and the keywords are those of `export_conversations`; without `date_range` all times are in it.
    `report.ok` says whether the export would succeed.

    A bad value is counted and passed over: its row stays in the other counts. In a column of which a batch has more
    than 2,000 bad values, the rest of the batch is not looked at. Where the source cannot be read on (columns are
    missing, a row of CSV has too many cells, compressed data are damaged), what follows is not known.

    Raises OptionError as `export_conversations` does, OSError of a file itself, and whatever the source raises that is
    no SourceError.
    """
    chosen = chosen_options(options, keywords)
    days = DateRange(date.min) if date_range is None else date_range
    check_kind("date_range", days, DateRange)
    spec = member_spec(chosen, Channel(id="channel"), days)
    found = Findings()
    context = SourceContext(chosen.tzinfo, strict=chosen.strict, epoch=chosen.epoch, refused=found.refuse)
    look = Look(spec.selection, found)
    workers = Workers(chosen.threads or 1)
    batches = source_of(source).batches(context)
    try:
        with closing(batches):
            made = groups(look.to_the_end(batches))
            pipeline = Pipeline(spec, workers, Writer(spec), chosen.threads or 1)
            try:
                for _ in pipeline.chunks_of(look.until_wrong(made)):
                    pass
            except (RowError, GroupingError, ArchiveError) as error:
                look.rehearsed(error)
            for group in made:
                look.see(group)
    finally:
        workers.close()
    return look.report(context)
