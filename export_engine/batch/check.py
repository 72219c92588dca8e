"""A target held against its receipts: what is missing, what nobody wrote, and what is other than it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from export_engine.batch.receipts import RECEIPTS, Receipt, receipt_path
from export_engine.batch.target import Target, open_target

__all__ = ["TargetCheck", "check_target"]


@dataclass(frozen=True, slots=True)
class TargetCheck:
    """What was found: the archives, messages and bytes that the receipts tell of, and each problem, ready to print."""

    archives: int
    rows: int
    bytes: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def check_target(
    place: str,
    *,
    deep: Callable[[Receipt, Sequence[Iterable[bytes]]], Iterable[str]] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> TargetCheck:
    """Hold the archives in a batch's target against the receipts there: each one's path, size and SHA-256.

    `deep` is called for each receipt whose archives are as it says, with the bytes of each, to be read in their order,
    and gives what else is wrong with them. `progress` is called with the receipts looked at so far and those there are.
    A folder's hidden files are not looked at: another batch may be at work.

    Raises OptionError for a place that cannot be opened, FileNotFoundError for one without a receipt, and what reading
    there raises.
    """
    target = open_target(place)
    paths = set(target.paths())
    noted = sorted(path for path in paths if path.startswith(f"{RECEIPTS}/") and path.endswith(".json"))
    if not noted:
        raise FileNotFoundError(2, "there are no receipts here: it is no batch's target", place)
    owners: dict[str, str] = {}
    problems: list[str] = []
    archives = rows = size = 0
    for number, at in enumerate(noted):
        if progress is not None:
            progress(number, len(noted))
        try:
            receipt = Receipt.decoded(target.read(at) or b"")
        except ValueError as error:
            problems.append(f"{at}: {error}")
            continue
        archives, rows, size = archives + len(receipt.archives), rows + receipt.rows, size + receipt.bytes
        found = [*_amiss(target, at, receipt, paths, owners)]
        if not found and deep is not None:
            found = [f"{receipt.path}: {said}" for said in deep(receipt, [*map(target.chunks, receipt.paths)])]
        problems += found
    extra = sorted(paths - {*noted} - owners.keys())
    problems += [f"{path}: no receipt tells of it" for path in extra]
    return TargetCheck(archives, rows, size, tuple(problems))


def _amiss(target: Target, at: str, receipt: Receipt, paths: set[str], owners: dict[str, str]) -> Iterator[str]:
    key = receipt.key
    if receipt_path(key) != at:
        yield f"{at}: it is the receipt of another key, {receipt_path(key)}"
    if receipt.path in owners:
        yield f"{receipt.path}: two receipts tell of it, {owners[receipt.path]} and {at}"
        return
    owners.update(dict.fromkeys(receipt.paths, at))
    if not receipt.path.endswith(f"_{key.export_id}.zip"):
        yield f"{receipt.path}: it is the archive of another key than its receipt's ({at}), whose id is {key.export_id}"
    if missing := [path for path in receipt.paths if path not in paths]:
        more = f", and {len(missing) - 1:,} more of its set" if len(missing) > 1 else ""
        yield f"{missing[0]}: it is missing{more}; its receipt is {at}"
    for path, expected in zip(receipt.paths, receipt.archives, strict=True):
        if path not in paths:
            continue
        digest, length = sha256(), 0
        for chunk in target.chunks(path):
            digest.update(chunk)
            length += len(chunk)
        if length != expected.bytes:
            yield f"{path}: it has {length} bytes, and its receipt says {expected.bytes}"
        elif digest.hexdigest() != expected.sha256:
            yield f"{path}: its SHA-256 is {digest.hexdigest()}, and its receipt says {expected.sha256}"
