"""What a source's rows say, group by group: counts, spans, what is there twice, and the rules that they break."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_engine.check.columns import similar_columns, suggested_map
from export_engine.check.findings import SHOWN, Findings, example_of
from export_engine.check.report import CheckReport, Example
from export_engine.errors import ArchiveError, GroupingError, RowError, SchemaError, SourceError
from export_engine.pipeline.cells import long_cells
from export_engine.pipeline.digests import DigestSet, column_digests, digests
from export_engine.pipeline.grouping import Group
from export_engine.pipeline.selection import (
    Selection,
    broken_rules,
    contradiction,
    contradictions,
    given_creation,
    select,
)
from export_engine.schema import COLUMN_NAMES, CREATED_AT
from export_engine.sources import SourceContext
from export_engine.times import MAX_US, instant

__all__ = ["Look"]

_ID, _CONVERSATION, _TIME = map(COLUMN_NAMES.index, ("message_id", "conversation_id", "message_time"))


@dataclass(slots=True)
class _Long:
    """A conversation that is not whole in a group, as far as it has been seen.

    It is `refused` where the export has stumbled over what was `found` in it, be it that it would be left out later.
    """

    given: int | None
    refused: bool = False
    earliest: int = MAX_US
    messages: int = 0
    long_cells: int = 0
    longest_cell: int = 0
    found: Findings = field(default_factory=Findings)
    ids: list[NDArray[np.uint64]] = field(default_factory=list)


class Look:
    """What has been seen of a source's rows."""

    def __init__(self, which: Selection, found: Findings) -> None:
        self._which = which
        self._found = found
        self._messages = self._conversations = 0
        self._messages_in_range = self._conversations_in_range = 0
        self._first, self._last = MAX_US, -MAX_US
        self._repeated = 0
        self._repeated_examples: list[Example] = []
        self._long_cells = self._longest_cell = 0
        self._seen, self._torn, self._chosen = DigestSet(), DigestSet(), DigestSet()
        self._torn_count = 0
        self._torn_examples: list[str] = []
        self._long: _Long | None = None
        self._schema: SchemaError | None = None
        # What the last row of the group before says.
        self._last_creation: int | None = None

    def until_wrong(self, made: Iterator[Group]) -> Iterator[Group]:
        """Look at groups and hand them on, up to the first in which something is wrong."""
        for group in made:
            self.see(group)
            if self._found or self._torn_count:
                return
            yield group

    def rehearsed(self, error: RowError | GroupingError | ArchiveError) -> None:
        """The export failed on rows in which nothing was found, or not yet."""
        if isinstance(error, RowError):
            if self._long is not None and self._long.found.has(error):
                self._long.refused = True
            elif not self._found.has(error):
                self._found.refuse(error)
        elif isinstance(error, ArchiveError):
            self._found.add(None, "cannot be put into an archive", str(error), 1, ())
        elif not self._torn_count:
            self._torn_count, self._torn_examples = 1, [error.conversation_id]

    def to_the_end(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """A source's batches, as far as it can be read."""
        try:
            yield from batches
        except SchemaError as error:
            self._schema = error
            if not error.missing:
                self._found.stopped = str(error)
        except SourceError as error:
            self._found.stopped = str(error)

    def see(self, group: Group) -> None:
        """Look at the next group."""
        self._found.next_batch()
        batch = group.batch
        ids, times = batch.column(_ID), batch.column(_TIME)
        self._messages += batch.num_rows - ids.null_count
        self._see_times(times.filter(pc.and_(ids.is_valid(), times.is_valid())))
        self._see_conversations(group)
        self._see_creation(group)
        selected = select(group, self._which)
        if group.begins and not group.whole:
            self._long = _Long(given_creation(group))
        long = self._long if not group.whole else None
        findings = self._found if long is None else long.found
        numbers = np.flatnonzero(selected.wanted) + group.before + 1
        self._see_rules(selected.batch, numbers, findings)
        if times.null_count:  # a bad time, of which nothing tells whether it is in the range
            unknown = pc.and_(times.is_null(), ids.is_valid())
            rows = np.flatnonzero(unknown.to_numpy(zero_copy_only=False))
            rest = rows[~selected.wanted[rows]]
            self._see_rules(batch.take(pa.array(rest)), rest + group.before + 1, findings)
        count, longest = long_cells(selected.batch)
        if long is None:
            self._take(len(selected.us), selected.ids, count, longest)
            self._see_ids(group)
            return
        long.messages += len(selected.us)
        long.long_cells += count
        long.longest_cell = max(long.longest_cell, longest)
        earliest = pc.min(times.filter(pc.and_(ids.is_valid(), times.is_valid())).cast(pa.int64())).as_py()
        long.earliest = min(long.earliest, MAX_US if earliest is None else earliest)
        long.ids.append(column_digests(ids, np.arange(len(ids))))
        if group.ends:
            self._end_long(long, group)

    def _end_long(self, long: _Long, group: Group) -> None:
        """It is known now whether the conversation is exported."""
        self._long = None
        created = long.earliest if long.given is None else long.given
        exported = self._which.created_within(created) if self._which.by_creation else long.messages > 0
        if exported:
            names = group.batch.column(_CONVERSATION).slice(0, 1).to_pylist()
            self._take(long.messages, names, long.long_cells, long.longest_cell)
        if exported or long.refused:
            self._found.take(long.found)
        seen = np.concatenate(long.ids)
        count = len(seen) - len(np.unique(seen))
        if count:
            conversation = group.batch.column(_CONVERSATION)[0].as_py()
            self._note_repeated(count, [Example(None, None, conversation, None)])

    def _take(self, messages: int, conversations: Sequence[str], count: int, longest: int) -> None:
        """Count what is exported."""
        self._messages_in_range += messages
        keys = np.unique(digests(filter(None, conversations)))
        fresh = keys[~self._chosen.seen(keys)]
        self._chosen.add_new(fresh)
        self._conversations_in_range += len(fresh)
        self._long_cells += count
        self._longest_cell = max(self._longest_cell, longest)

    def _see_times(self, times: pa.Array) -> None:
        if len(times):
            span = pc.min_max(times.cast(pa.int64())).as_py()
            self._first, self._last = min(self._first, span["min"]), max(self._last, span["max"])

    def _see_conversations(self, group: Group) -> None:
        """Count those that begin, and find those that had begun before."""
        if not group.begins:
            return
        column = group.batch.column(_CONVERSATION)
        names = [name for name in column.take(pa.array(group.bounds[:-1])).to_pylist() if name]  # one may be refused
        keys = digests(names)
        if self._seen.add_new(keys):
            self._conversations += len(keys)
            return
        _, firsts = np.unique(keys, return_index=True)
        again = np.ones(len(keys), np.bool_)
        again[firsts] = False
        again |= self._seen.seen(keys)
        fresh = np.unique(keys[~again])
        self._conversations += len(fresh)
        self._seen.add_new(fresh)
        for at in np.flatnonzero(again).tolist():
            if self._torn.add_new(keys[at : at + 1]):
                self._torn_count += 1
                if len(self._torn_examples) < SHOWN:
                    self._torn_examples.append(names[at])

    def _see_creation(self, group: Group) -> None:
        """Find the rows that say another creation than the row before."""
        column = group.batch.column(CREATED_AT)
        found = [(row, column[row - 1].value) for row in contradictions(group).tolist()]
        if not group.begins and column[0].value != self._last_creation:
            found.insert(0, (0, self._last_creation))
        self._last_creation = column[-1].value
        if CREATED_AT in self._found.refused:  # where nothing stands, the source may have refused what stood there
            found = [(row, before) for row, before in found if column[row].is_valid and before is not None]
        if found:
            errors = [contradiction(group, row, before) for row, before in found[:SHOWN]]
            self._found.add(CREATED_AT, errors[0].rule, errors[0].advice, len(found), map(example_of, errors))

    def _see_rules(self, batch: pa.RecordBatch, numbers: NDArray[np.int64], findings: Findings) -> None:
        for broken in broken_rules(batch):
            # Where nothing stands, the source has refused what stood there.
            rows = np.flatnonzero(
                pc.and_(pc.fill_null(broken.wrong, False), batch.column(broken.index).is_valid()).to_numpy(
                    zero_copy_only=False
                )
            )
            if len(rows):
                examples = [example_of(broken.error(batch, int(row), int(numbers[row]))) for row in rows[:SHOWN]]
                column = COLUMN_NAMES[broken.index]
                findings.add(column, broken.problem, broken.advice, len(rows), examples)

    def _see_ids(self, group: Group) -> None:
        """Count the message ids that a whole conversation has had."""
        ids = group.batch.column(_ID)
        coded = ids.dictionary_encode()
        if len(coded.dictionary) + ids.null_count == len(ids):
            return
        usable = pc.and_(ids.is_valid(), pc.not_equal(ids, "")).fill_null(False).to_numpy(zero_copy_only=False)
        conversation = np.repeat(np.arange(len(group.bounds) - 1), np.diff(group.bounds))
        codes = coded.indices.fill_null(0).to_numpy().astype(np.int64) + conversation * len(coded.dictionary)
        rows = np.flatnonzero(usable)
        _, firsts = np.unique(codes[rows], return_index=True)
        again = np.delete(rows, firsts)
        names = group.batch.column(_CONVERSATION)
        examples = [
            Example(ids[row].as_py(), group.before + row + 1, names[row].as_py(), ids[row].as_py())
            for row in again[:SHOWN].tolist()
        ]
        self._note_repeated(len(again), examples)

    def _note_repeated(self, count: int, examples: Sequence[Example]) -> None:
        self._repeated += count
        self._repeated_examples += examples[: SHOWN - len(self._repeated_examples)]

    def report(self, context: SourceContext) -> CheckReport:
        """What has been seen."""
        missing = self._schema.missing if self._schema else ()
        given = self._schema.given if self._schema else context.ignored_columns
        similar = similar_columns(given)
        return CheckReport(
            ok=not (self._found or self._torn_count or missing),
            messages=self._messages,
            conversations=self._conversations,
            messages_in_range=self._messages_in_range,
            conversations_in_range=self._conversations_in_range,
            first_time=None if self._first > self._last else instant(self._first),
            last_time=None if self._first > self._last else instant(self._last),
            timezone=str(context.timezone),
            naive_times=context.naive_times,
            torn_conversations=self._torn_count,
            torn_examples=tuple(self._torn_examples),
            repeated_ids=self._repeated,
            repeated_examples=tuple(self._repeated_examples),
            long_cells=self._long_cells,
            longest_cell=self._longest_cell,
            replaced_surrogates=context.replaced_surrogates,
            ignored_columns=context.ignored_columns,
            columns=given if missing else (),
            missing_columns=missing,
            similar_columns=similar,
            suggested_map=suggested_map(missing, similar),
            problems=self._found.problems(),
            stopped=self._found.stopped,
        )
