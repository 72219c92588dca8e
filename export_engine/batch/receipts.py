"""Receipts: what a batch has done, as small JSON files beside its archives; and what becomes of each key."""

from __future__ import annotations

import builtins
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

from export_engine.batch.plan import BatchPlan, Key
from export_engine.batch.target import Target, open_target
from export_engine.errors import ExportError

__all__ = [
    "ArchiveResult",
    "Counted",
    "Receipt",
    "failed",
    "kept",
    "kept_already",
    "read_receipt",
    "reason",
    "receipt_path",
    "result",
    "time_text",
]

#: Receipts that are asked for at a time: a store's latency is all that they cost.
_AT_A_TIME = 16


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is known of a finished archive: its whole key, and its facts. `path` is inside the target."""

    channel_id: str
    period: str
    label: str
    digest: str
    backend: str
    path: str
    rows: int
    conversations: int
    bytes: int
    sha256: str
    first_time: str
    last_time: str

    def encoded(self) -> builtins.bytes:
        """The receipt as its file has it."""
        return (json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n").encode()

    @classmethod
    def decoded(cls, data: builtins.bytes) -> Receipt:
        """Read one back. Raises ValueError for what is none."""
        try:
            return cls(**json.loads(data))
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"this is no receipt: {error}") from error


@dataclass(frozen=True, slots=True)
class ArchiveResult:
    """What became of one channel's archive of one period.

    `status` is `done`, `kept` (it was there), or `failed`, with the reason in `error`. `path` is inside the target;
    None where it failed.
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


def receipt_path(key: Key) -> str:
    """Where a key's receipt is, inside the target."""
    return f"receipts/{key.hash}.json"


@dataclass(frozen=True, slots=True)
class Counted:
    """The rows of one channel and period, as they are in the lake: how many, and their span (aware)."""

    channel_id: str
    period: str
    rows: int
    first: datetime | None
    last: datetime | None


def read_receipt(target: Target, key: Key, backend: str | None) -> Receipt | None:
    """A key's receipt, if it is there.

    Raises ExportError for another key's in its place, or where its archive was deflated by another library than
    `backend`; ValueError for a file that is no receipt.
    """
    data = target.read(receipt_path(key))
    if data is None:
        return None
    receipt = Receipt.decoded(data)
    if (receipt.channel_id, receipt.period, receipt.label, receipt.digest) != (
        key.channel_id,
        key.period,
        key.label,
        key.digest,
    ):
        raise ExportError(f"{receipt_path(key)} is another key's receipt: use another label")
    if backend not in (None, receipt.backend):
        raise ExportError(f"{receipt.path} was deflated by {receipt.backend}, not {backend}: use another label")
    return receipt


def kept(receipt: Receipt, now: Counted) -> ArchiveResult:
    """The result of a key whose receipt is there. Raises ExportError if the lake's rows are others by now."""
    there = (now.rows, time_text(now.first), time_text(now.last))
    if there != (receipt.rows, receipt.first_time, receipt.last_time):
        raise ExportError(
            f"the lake has changed under the label {receipt.label!r}: {receipt.path} has {receipt.rows} messages "
            f"from {receipt.first_time} to {receipt.last_time}, and there are {there[0]} from {there[1]} to "
            f"{there[2]}; give the new snapshot a label of its own"
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
            return None if receipt is None else kept(receipt, now)
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
    )


def failed(key: Key, why: str) -> ArchiveResult:
    """The result of a key that has no archive."""
    return ArchiveResult(key.channel_id, key.period, "failed", error=why)


def reason(error: Exception) -> str:
    """An error as one line; the library's own say what is to be done, others begin with what they are."""
    text = " ".join(str(error).split())
    return text if isinstance(error, ExportError) else f"{type(error).__name__}: {text}"


def time_text(time: datetime | None) -> str:
    """A time as receipts have it: UTC, ISO 8601; empty for none."""
    return "" if time is None else time.isoformat()
