"""Media URLs as they came, lists or text, to one text a message, parted by commas."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_engine.sources import SourceContext
from export_engine.sources.refusal import BadValue, within
from export_engine.sources.text import text, text_of

__all__ = ["is_list", "media", "media_of"]

_TEXT = pa.string()
_LISTS = (pa.ListType, pa.LargeListType, pa.FixedSizeListType, pa.ListViewType, pa.LargeListViewType)
_USUAL = {list, tuple, type(None)}
_URLS = msgspec.json.Decoder(list[str])


def is_list(type_: pa.DataType) -> bool:
    """Whether a type is any kind of list."""
    return isinstance(type_, _LISTS)


def media(column: pa.Array, context: SourceContext, *, sound: bool = False) -> pa.StringArray:
    """URLs, as lists or text, parted by commas; a comma inside one of a list is %2C, and an empty list is null.

    Text that is a JSON array of strings is that list; all other text is taken as it is, parted by commas already.

    Raises BadValue for a null in a list, a JSON array with something else than strings, and as `text` does.
    """
    if not is_list(column.type):
        return _unlisted(text(column, context, sound=sound), context)
    # Not by a cast to list<string>: pyarrow 26 makes wrong offsets of list views.
    lengths = pc.list_value_length(column).cast(pa.int32()).fill_null(0).to_numpy()
    ends = np.cumsum(lengths, dtype=np.int32)
    urls = column.flatten()
    if not len(urls):
        return pa.nulls(len(column), _TEXT)
    try:
        return _joined(text(_all_valid(urls), context, sound=sound), lengths, ends)
    except BadValue as bad:
        row = int(np.searchsorted(ends, bad.at, side="right"))
        raise BadValue(row, bad.problem, bad.advice) from bad


def _all_valid(urls: pa.Array) -> pa.Array:
    if urls.null_count:
        raise BadValue(pc.index(urls.is_valid(), False).as_py(), *_NULL_URL)
    return urls


_NULL_URL = ("has a null among its URLs", "leave it out of the list")


def _joined(urls: pa.StringArray, lengths: NDArray[np.int32], ends: NDArray[np.int32]) -> pa.StringArray:
    """Lists of some lengths as text."""
    offsets = pa.array(np.concatenate((np.zeros(1, np.int32), ends)))
    joined = pc.binary_join(pa.ListArray.from_arrays(offsets, pc.replace_substring(urls, ",", "%2C")), ",")
    return pc.if_else(pa.array(lengths > 0), joined, pa.nulls(len(lengths), _TEXT))


def media_of(values: Sequence[Any], context: SourceContext) -> pa.StringArray:
    """A column of lists of URLs and text, as `media` has it. Lists are any sequences of str."""
    if _USUAL.issuperset(map(type, values)):
        if not any(values):
            return pa.nulls(len(values), _TEXT)
        try:
            return text_of("media_url", [_urls(urls) if urls else None for urls in values], context)
        except TypeError:
            pass  # among the URLs is something else
    found = [_any_media(value, at) for at, value in enumerate(values)]
    given = [isinstance(value, str) for value in values]
    texts, lists = (
        text_of(
            "media_url", [v if is_text is wanted else None for v, is_text in zip(found, given, strict=True)], context
        )
        for wanted in (True, False)
    )
    return pc.coalesce(_unlisted(texts, context), lists)


def _urls(urls: Sequence[str]) -> str:
    """Join URLs so that splitting on commas gives them back."""
    joined = ",".join(urls)
    return joined if joined.count(",") == len(urls) - 1 else ",".join([url.replace(",", "%2C") for url in urls])


def _any_media(value: Any, at: int) -> str | None:
    """Text as it is, a list joined."""
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, Sequence) or isinstance(value, bytes | bytearray | memoryview):
        raise BadValue(at, "is not a list of URLs", _LIST_OF)
    _check_urls(value, at)
    return _urls(tuple(value)) if value else None


_LIST_OF = "give text, or a list of text"


def _check_urls(urls: Sequence[Any], at: int) -> None:
    if None in urls:
        raise BadValue(at, *_NULL_URL)
    if not all(isinstance(url, str) for url in urls):
        raise BadValue(at, "holds something else than text among its URLs", _LIST_OF)


def _unlisted(column: pa.StringArray, context: SourceContext) -> pa.StringArray:
    """The column with JSON arrays of strings as the lists that they are."""
    if column.null_count == len(column) or not _has_brackets(column):
        return column
    begun = pc.starts_with(pc.ascii_ltrim(column, " \t\r\n"), "[").fill_null(False)
    if not begun.true_count:
        return column
    lists = within(begun.to_numpy(zero_copy_only=False), lambda some: _listed(some, context), column)
    return pc.replace_with_mask(column, begun, lists)


def _has_brackets(column: pa.StringArray) -> bool:
    """Whether a `[` is anywhere in the texts, or under nulls: a fraction of looking at the beginning of each."""
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, np.int32, len(column) + 1, 4 * column.offset)
    return bool((np.frombuffer(data, np.uint8)[bounds[0] : bounds[len(column)]] == ord("[")).any())


def _listed(column: pa.StringArray, context: SourceContext) -> pa.StringArray:
    """Text that begins with a bracket: a list where it is JSON, else what it was."""
    texts = column.to_pylist()
    try:  # all at once: each holds a bracket, so that as many lines as texts are one for each
        lists: list[Any] = _URLS.decode_lines("\n".join(texts))
    except msgspec.DecodeError:
        lists = []
    if len(lists) != len(texts):
        lists = [_array(value) for value in texts]
        for at, urls in enumerate(lists):
            _check_urls(urls or (), at)
    joined = [text if urls is None else _urls(urls) if urls else None for text, urls in zip(texts, lists, strict=True)]
    return text_of("media_url", joined, context)


def _array(text: str) -> list[Any] | None:
    """A JSON array; None for text that is none."""
    try:
        found: list[Any] = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found
