"""Receipts: what a batch has done, as small JSON files beside its archives; and what becomes of each key."""

from __future__ import annotations

import builtins
import io
import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Literal

from export_engine.batch.plan import BatchPlan, Key
from export_engine.batch.target import Target, WholeFile, open_target
from export_engine.errors import ExportError, RowError
from export_engine.report import ArchiveRecord, archive_name
from export_engine.sinks.file import write_archive

__all__ = [
    "RECEIPTS",
    "ArchiveResult",
    "Counted",
    "Receipt",
    "failed",
    "is_whole",
    "kept",
    "kept_already",
    "read_receipt",
    "reason",
    "receipt_path",
    "result",
    "several",
    "time_text",
    "warned",
    "write_results",
]

#: Their folder inside the target.
RECEIPTS = "receipts"

#: Other names of a channel that a warning has.
_SHOWN = 3

#: Receipts that are asked for at a time: a store's latency is all that they cost.
_AT_A_TIME = 16


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is known of what was made for a key, which stands in it whole.

    `rows_read` are the lake's, of which `rows` are exported: fewer only where those that are there twice are one.
    `path` is the archive's, inside the target. With a size limit there may be several `archives`: `path` is the first's
    then, `bytes` the sum of all, and `sha256` None.
    """

    channel_id: str
    period: str
    label: str
    digest: str
    backend: str
    path: str
    rows_read: int
    rows: int
    conversations: int
    bytes: int
    sha256: str | None
    first_time: str
    last_time: str
    archives: tuple[ArchiveRecord, ...]

    @property
    def key(self) -> Key:
        """What it is the receipt of."""
        return Key(self.channel_id, self.period, self.label, self.digest)

    @property
    def paths(self) -> tuple[str, ...]:
        """Its archives' paths inside the target."""
        return tuple(archive_name(self.path, number) for number in range(1, len(self.archives) + 1))

    def encoded(self) -> builtins.bytes:
        """The receipt as its file has it."""
        return (json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n").encode()

    @classmethod
    def decoded(cls, data: builtins.bytes) -> Receipt:
        """Read one back. Raises ValueError for what is none."""
        try:
            said = json.loads(data)
            if not isinstance(said, dict):
                raise TypeError("it is no object")  # noqa: TRY301  # one place tells of all
            archives = tuple(ArchiveRecord(**record) for record in said.pop("archives"))
            receipt = cls(**said, archives=archives)
            _check_types(receipt)
            for archive in archives:
                _check_types(archive)
            receipt._check()  # its own
        except KeyError as error:
            raise ValueError(f"this is no receipt: it has no {error}; {_ADVICE}") from error
        except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"this is no receipt: {error}; {_ADVICE}") from error
        return receipt

    def _check(self) -> None:
        """Raise ValueError for values that contradict each other, and a path that leads out of the target."""
        names = [path.rpartition("/")[2] for path in self.paths]
        if not names or names != [archive.file_name for archive in self.archives]:
            raise ValueError("its archives have other names than its path says")
        if not {"", ".", ".."}.isdisjoint(self.path.split("/")) or "\0" in self.path:
            raise ValueError(f"its path {self.path!r} is none inside the target")
        if self.bytes != sum(archive.bytes for archive in self.archives):
            raise ValueError("its bytes are not the sum of its archives'")
        if self.sha256 != (self.archives[0].sha256 if len(self.archives) == 1 else None):
            raise ValueError("its sha256 is another than its archive's")
        for name in ("first_time", "last_time"):
            time = _time(getattr(self, name))
            if time is not None and time.tzinfo is None:
                raise ValueError(f"its {name} has no offset from UTC")


#: What to do about a receipt that is damaged.
_ADVICE = "delete it, and its archives are made again"


def _check_types(record: Receipt | ArchiveRecord) -> None:
    """Raise TypeError for a text where a number is to be, and the like."""
    for field in fields(record):
        value = getattr(record, field.name)
        kinds = {"str": (str,), "int": (int,), "str | None": (str, type(None))}.get(str(field.type))
        if kinds is not None and type(value) not in kinds:
            raise TypeError(f"its {field.name} is {str(value)[:80]!r}")
        if kinds == (int,) and value < 0:
            raise ValueError(f"its {field.name} is {value}")


@dataclass(frozen=True, slots=True)
class ArchiveResult:
    """What became of one channel's archive of one period.

    `status` is `done`, `kept` (it was there), or `failed`, with the reason in `error`. `path` is inside the target;
    None where it failed. With a size limit there may be more `archives` than one, numbered from `path`'s name on:
    `bytes` is the sum of all then, and `sha256` None. `warning` says what was decided about the channel's name or phone
    number where the rows have several (see `Counted`), and, of one that was done now, how many messages have the id of
    the one before them: rows that are there twice, perhaps.
    """

    channel_id: str
    period: str
    status: Literal["done", "kept", "failed"]
    path: str | None = None
    rows: int = 0
    conversations: int = 0
    bytes: int = 0
    sha256: str | None = None
    error: str | None = None
    archives: int = 0
    warning: str | None = None


def receipt_path(key: Key) -> str:
    """Where a key's receipt is, inside the target."""
    return f"{RECEIPTS}/{key.hash}.json"


@dataclass(frozen=True, slots=True)
class Counted:
    """The rows of one channel and period, as they are in the lake: how many, and their span (aware).

    `warning` tells where they have several names, or phone numbers, of their channel: the archive has those of its
    latest message that has one.
    """

    channel_id: str
    period: str
    rows: int
    first: datetime | None
    last: datetime | None
    warning: str | None = None


def read_receipt(target: Target, key: Key, backend: str | None) -> Receipt | None:
    """A key's receipt, if it is there.

    Raises ExportError for another key's in its place, where its archive was deflated by another library than `backend`,
    and for a file that is no receipt.
    """
    data = target.read(receipt_path(key))
    if data is None:
        return None
    try:
        receipt = Receipt.decoded(data)
    except ValueError as error:
        raise ExportError(f"{receipt_path(key)}: {error}") from error
    if receipt.key != key:
        raise ExportError(f"{receipt_path(key)} is another key's receipt: use another label")
    if backend not in (None, receipt.backend):
        raise ExportError(f"{receipt.path} was deflated by {receipt.backend}, not {backend}: use another label")
    return receipt


def is_whole(target: Target, receipt: Receipt) -> bool:
    """Whether a receipt's archives are all there, of the sizes that it says: else they are to be made again."""
    return all(target.size(at) == one.bytes for at, one in zip(receipt.paths, receipt.archives, strict=True))


def kept(receipt: Receipt, now: Counted) -> ArchiveResult:
    """The result of a key whose receipt is there. Raises ExportError if the lake's rows are others by now."""
    there = (receipt.rows_read, _time(receipt.first_time), _time(receipt.last_time))
    if there != (now.rows, now.first, now.last):
        raise ExportError(
            f"the lake, or the range, has changed under the label {receipt.label!r}: {receipt.path} is of "
            f"{receipt.rows_read} messages from {receipt.first_time} to {receipt.last_time}, and there are {now.rows} "
            f"from {time_text(now.first)} to {time_text(now.last)}; give the new snapshot a label of its own"
        )
    return result(receipt, "kept")


def kept_already(counted: Iterable[Counted], plan: BatchPlan) -> list[ArchiveResult]:
    """Results for the keys whose receipts are there: kept, or failed where the lake has changed; none for others."""
    target = open_target(plan.target)
    periods = {period.name: period for period in plan.periods()}

    def look(now: Counted) -> ArchiveResult | None:
        key = plan.key(now.channel_id, periods[now.period])
        try:
            receipt = read_receipt(target, key, plan.backend)
            if receipt is None or not is_whole(target, receipt):
                return None
            return warned(kept(receipt, now), now.warning)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is this key's alone
            return failed(key, reason(error))

    with ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="export-engine-receipts") as pool:
        return [found for found in pool.map(look, counted) if found is not None]


def result(receipt: Receipt, status: Literal["done", "kept"]) -> ArchiveResult:
    """What a receipt says, as a result."""
    return ArchiveResult(
        channel_id=receipt.channel_id,
        period=receipt.period,
        status=status,
        path=receipt.path,
        rows=receipt.rows,
        conversations=receipt.conversations,
        bytes=receipt.bytes,
        sha256=receipt.sha256,
        archives=len(receipt.archives),
    )


def several(name: str, values: Sequence[str], latest: str) -> str:
    """The warning about a column of the channel's in which an archive's rows have several values."""
    others = sorted(map(repr, {*values} - {latest}))
    more = f" and {len(others) - _SHOWN:,} more" if len(others) > _SHOWN else ""
    return f"{name} is {latest!r}, that of its latest message; others have {', '.join(others[:_SHOWN])}{more}"


def warned(result: ArchiveResult, warning: str | None) -> ArchiveResult:
    """A result with a warning more, unless there is none, or no archive."""
    if warning is None or result.status == "failed":
        return result
    return replace(result, warning=warning if result.warning is None else f"{result.warning}; {warning}")


def write_results(results: Iterable[ArchiveResult], path: str | os.PathLike[str]) -> None:
    """Write a table of results, in the place of a file that is there: `.parquet`, or JSON Lines."""
    rows = [asdict(one) for one in results]
    if os.fspath(path).lower().endswith(".parquet"):
        import pyarrow as pa  # noqa: PLC0415  # for this alone
        import pyarrow.parquet as pq  # noqa: PLC0415  # the same

        kinds = [(field.name, pa.int64() if field.type == "int" else pa.string()) for field in fields(ArchiveResult)]
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, pa.schema(kinds)), sink)
        data = sink.getvalue()
    else:
        data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "backslashreplace")
    write_archive(WholeFile(data), path, overwrite=True)


def failed(key: Key, why: str) -> ArchiveResult:
    """The result of a key that has no archive."""
    return ArchiveResult(key.channel_id, key.period, "failed", error=why)


def reason(error: Exception) -> str:
    """An error as one line; the library's own say what is to be done, of others it is what they are and their first.

    A row is told by its message's time, and not by its number in a sorted run, where nobody could find it.
    """
    if isinstance(error, ExportError):
        said = " ".join(str(_found(error) if isinstance(error, RowError) else error).split())
    else:  # what follows in a store's is for those who debug its library
        said = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    return "; ".join([said, *getattr(error, "__notes__", ())])


def _found(error: RowError) -> RowError:
    """The error of a row as a lake's."""
    time = error.time.isoformat() if isinstance(error.time, datetime) else error.time
    return RowError(
        f"{error.problem} (its message's time is {time})" if time else error.problem,
        column=error.column,
        conversation_id=error.conversation_id,
        message_id=error.message_id,
        advice=error.advice,
    )


def _time(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def time_text(time: datetime | None) -> str:
    """A time as receipts have it: UTC, ISO 8601; empty for none."""
    return "" if time is None else time.isoformat()
