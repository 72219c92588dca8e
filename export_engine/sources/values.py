"""What a value may be and what it becomes: the rules on the values of a row, once for every source.

A rule is there for a column of Arrow's (`column`) and for a list of Python's values (`column_of`), whole columns at a
time: only one in which something is wrong is looked at value by value. Text, media and times have modules of their own;
here stand the rules that join them. One that is broken raises BadValue, which knows the rule and the place in the
column; the source, which knows where the column came from, makes `row_error` of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from export_engine.errors import RowError
from export_engine.options import Epoch
from export_engine.schema import IDS, REQUIRED, ROW_SCHEMA, TIMES
from export_engine.sources import SourceContext
from export_engine.sources.instants import instants, instants_of
from export_engine.sources.media import is_list, media, media_of
from export_engine.sources.refusal import BadValue, row_error
from export_engine.sources.text import NUMBERED, id_text, is_text, is_uuid, text, text_of

__all__ = ["BadValue", "batch_of_columns", "column", "column_of", "converted", "impossible", "named", "row_error"]


def column(name: str, given: pa.Array, context: SourceContext, *, sound: bool = False) -> pa.Array:
    """A column of a type that is not `impossible`, but for dictionaries and runs, as `ROW_SCHEMA` has it.

    `sound` says that its strings are known to be UTF-8. Raises BadValue for a value that breaks a rule, SourceError for
    a damaged column.
    """
    if pa.types.is_null(given.type):
        made = pa.nulls(len(given), ROW_SCHEMA.field(name).type)
    elif name in TIMES:
        made = text(given, context, sound=sound) if is_text(given.type) else given
        made = instants(made, context.timezone, context.epoch, _naive(name, context))
    elif name == "media_url":
        made = media(given, context, sound=sound)
    else:
        made = (id_text if name in IDS else text)(given, context, sound=sound)
        if context.is_csv and name in NUMBERED:
            _unrounded(made)
    return _required(name, made, ())


#: A number of more than eleven digits as a spreadsheet shows it, of which it has lost all but the first six or fifteen.
_ROUNDED = r"^[0-9](?:[.,][0-9]+)?E\+[0-9]{2}$"


def _unrounded(column: pa.StringArray) -> None:
    """Raise BadValue for an id or phone that a spreadsheet has rounded: those of several would be one."""
    _, offsets, data = column.buffers()
    if data is None or not len(column):
        return
    first, last = np.frombuffer(offsets, np.int32)[[column.offset, column.offset + len(column)]].tolist()
    if b"E+" not in data.slice(first, last - first).to_pybytes():  # several times faster than value by value
        return
    rounded = pc.index(pc.match_substring_regex(column, _ROUNDED), True).as_py()
    if rounded >= 0:
        raise BadValue(
            rounded,
            "is a number that a spreadsheet has rounded",
            "export it anew where it was made, and have the spreadsheet take the column for text as it opens it",
        )


def column_of(
    name: str, values: Sequence[Any], context: SourceContext, *, blanks: Sequence[int] = (), counted: int = 0
) -> pa.Array:
    """A list of values as `ROW_SCHEMA` has the column.

    At the `blanks` nothing need stand, and what stands there for a time is null. The lone surrogates of the first
    `counted` values were counted before. Raises BadValue for a value that breaks a rule.
    """
    if name in TIMES:
        made = instants_of(values, context.timezone, context.epoch, blanks, _naive(name, context))
    else:
        made = media_of(values, context) if name == "media_url" else text_of(name, values, context, counted)
    return _required(name, made, blanks)


def _naive(name: str, context: SourceContext) -> Callable[[int], object] | None:
    return context.note_naive if name == "message_time" else None


def converted(
    name: str,
    count: int,
    convert: Callable[[int, int], pa.Array],
    error: Callable[[BadValue], RowError],
    context: SourceContext,
) -> pa.Array:
    """A column of `count` values, which `convert(low, high)` makes of some or raises BadValue.

    Raises the `error` of the first bad value, unless the context wants to be told of all: then each is looked for by
    halving, for a rule tells of one bad value alone, and stands as null, in an id as empty text.
    """
    parts: list[pa.Array] = []
    pieces = [(0, count)]
    while pieces:
        low, high = pieces.pop()
        counts = context.counts()
        try:
            parts.append(convert(low, high))
        except BadValue as bad:
            if context.refused is None:
                raise error(bad) from bad.__cause__
            context.recount(counts)
            if high - low > 1:
                middle = (low + high) // 2
                pieces += ((middle, high), (low, middle))
                continue
            parts.append(_blank(name, 1))
            if not context.refused(error(BadValue(low, bad.problem, bad.advice))):
                parts.append(_blank(name, count - high))
                break
    return parts[0] if len(parts) == 1 else pa.concat_arrays(parts)


def _blank(name: str, count: int) -> pa.Array:
    """What stands for values that break a rule: an id that none has, else null; text where the column has no name."""
    type_ = ROW_SCHEMA.field(name).type if name else pa.string()
    return pa.array([""] * count, type_) if name in IDS else pa.nulls(count, type_)


def _required(name: str, column: pa.Array, blanks: Sequence[int]) -> pa.Array:
    """The column, where it has all that it must; at the `blanks` it need not.

    Raises BadValue for a null in a required column and an empty id.
    """
    if name in REQUIRED and column.null_count > len(blanks):
        missing = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))
        at = int(np.setdiff1d(missing, np.array(blanks, np.int64))[0])
        raise BadValue(at, "is missing", "every message needs one")
    if name in IDS and pc.min(pc.binary_length(column)).as_py() == 0:
        raise BadValue(
            pc.index(column, "").as_py(), "is empty", "every message needs an id, and so does a conversation"
        )
    return column


def named(speaker_name: pa.Array, speaker_type: pa.Array, contact_name: pa.Array) -> pa.Array:
    """The speakers' names: a customer's message without one has the contact's."""
    if not speaker_name.null_count:
        return speaker_name
    unnamed = pc.and_(speaker_name.is_null(), contact_name.is_valid())
    if not unnamed.true_count:
        return speaker_name
    unnamed = pc.and_(unnamed, pc.equal(speaker_type, "customer"))
    return pc.if_else(unnamed, contact_name, speaker_name)


def batch_of_columns(columns: Mapping[str, pa.Array]) -> pa.RecordBatch:
    """A batch of all the columns, in any order; the speakers' names are `named`."""
    names = named(*(columns[name] for name in ("speaker_name", "speaker_type", "contact_name")))
    made = {**columns, "speaker_name": names}
    return pa.RecordBatch.from_arrays([made[name] for name in ROW_SCHEMA.names], schema=ROW_SCHEMA)


def impossible(name: str, type_: pa.DataType, epoch: Epoch | None) -> str | None:
    """What a column must be, where it has a type that cannot hold it; None where it can.

    Dictionaries and run-end encoded columns are looked through.
    """
    while pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_):
        type_ = type_.value_type
    if pa.types.is_null(type_):  # no value, or no row at all, as in an empty DataFrame
        return None
    possible, needed = is_text(type_), "text; cast it"
    floating = pa.types.is_floating(type_)
    whole = pa.types.is_integer(type_) or pa.types.is_decimal(type_)
    if name in TIMES:
        possible |= pa.types.is_timestamp(type_) or (epoch is not None and (whole or floating))
        needed = "a timestamp, or text with the date and the time; cast it"
        if whole or floating:
            needed = "a timestamp or text, or say what the numbers count since 1970 with the option epoch (--epoch)"
    elif name in NUMBERED:
        possible |= whole or (name in IDS and is_uuid(type_))
        needed = "text or whole numbers, or, for ids, UUIDs; cast it"
        if floating:
            needed = "text or whole numbers; cast it where it was made, for a float may have lost digits"
    elif name == "media_url":
        possible |= is_list(type_) and (is_text(type_.value_type) or pa.types.is_null(type_.value_type))
        needed = "text or a list of text; cast it"
    return None if possible else needed
