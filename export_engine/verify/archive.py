"""One archive from its first byte to its last, in the order in which its members stand.

Members are taken a group at a time: some MiB of the file are read in one go, the records before and behind the data
compared, the data unpacked, and all rows of the group looked at together. What is not right is then looked at again by
itself, to say what and where. Memory holds a group and thirty-two bytes for each member.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import file_digest, sha256
from itertools import pairwise
from pathlib import Path
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

from export_engine.errors import ArchiveError
from export_engine.options import CsvDialect
from export_engine.readback.directory import Entry, Records, bytes_at, find_end, records
from export_engine.readback.packed import LOCAL_BYTES, LONGEST_HELD, chunks, unpacked
from export_engine.readback.rows import BOM, HEADERS, cause, header_of, whole_rows
from export_engine.report import MemberRecord
from export_engine.times import instant
from export_engine.verify.container import check_local, check_records, descriptor, local_headers, spans
from export_engine.verify.manifest import Manifest
from export_engine.verify.names import check_names
from export_engine.verify.rows import Guard, MemberFacts, distinct, plain_facts, read_rows
from export_engine.verify.uniqueness import Homes
from export_engine.verify.verification import MAX_PROBLEMS, Listed, Verification

__all__ = ["verify_archive", "verify_archives"]

_Complain = Callable[[str], object]
_Progress = Callable[[int, int], object]


def verify_archive(
    path: str | os.PathLike[str],
    manifest: str | os.PathLike[str] | None = None,
    *,
    progress: _Progress | None = None,
) -> Verification:
    """Check an archive, and with its `manifest` (JSON Lines, or Parquet if it ends in `.parquet`) the two together.

    Checked are the container (every field of every record in it, CRC-32s, no byte that belongs to nothing), names and
    times of the members, and each row: its cells, the vocabulary, its time, that a member is one conversation and a
    conversation one member or its `(part N)`. What the engine would not have written is a problem; an archive written
    with any `ExportOptions` passes. The manifest must list the same members in the same order with the same facts.
    `progress` is called with the bytes of members read so far and those there are, packed.

    An archive of a set passes alone. Where the manifest names the archives of a set (`max_archive_size`), all of them
    are looked for beside `path` and checked together: their sizes and SHA-256, and that no name and no conversation is
    in two of them.

    Damage is reported, never raised, and memory is bounded whatever the archive claims: a row of any length is read.
    Reading stops at members that overlap. Raises OSError for a file that cannot be read.
    """
    return verify_archives([path], manifest, progress=progress)


def verify_archives(
    paths: Sequence[str | os.PathLike[str]],
    manifest: str | os.PathLike[str] | None = None,
    *,
    progress: _Progress | None = None,
) -> Verification:
    """Check the archives of one export together, in their order, as `verify_archive` does one.

    One that is given twice, be it by a link, is a problem, and read once.
    """
    complain, warn = Listed("problems"), Listed("warnings")
    against = None if manifest is None else Manifest(Path(manifest), complain)
    files = _each_once(map(Path, paths), complain)
    if against is not None and against.archives:
        named = {record.file_name for record in against.archives}
        for file in files:
            if file.name not in named:
                complain(f"{file.name}: the manifest does not name it; it names {', '.join(sorted(named)[:5])}")
        files = [files[0].with_name(record.file_name) for record in against.archives]
    reading = _Reading(against, progress, complain, lambda: complain.count < MAX_PROBLEMS, warn)
    total = 0
    for number, file in enumerate(files, 1):
        if against is not None and against.archives and not file.exists():
            complain(f"{file.name} is missing, which the manifest names")
            continue
        total += reading.read_file(file, number, len(files))
    reading.finish()
    return Verification(
        reading.members,
        reading.conversations,
        reading.rows,
        total,
        complain.told(),
        reading.dialect(),
        reading.guard.unsafe,
        warn.told(),
    )


def _each_once(paths: Iterable[Path], complain: _Complain) -> list[Path]:
    """The files that are given: one that is there twice would be told as names and conversations that are."""
    files: dict[object, Path] = {}
    for path in paths:
        identity: object = path
        with suppress(OSError):  # reading it tells
            status = path.stat()
            identity = (status.st_dev, status.st_ino)
        before = files.setdefault(identity, path)
        if before is not path:
            complain(f"{path} is given twice{'' if before == path else f', first as {before}'}: give each archive once")
    return list(files.values())


# What one member's CSV says: rows, conversation (empty without rows), earliest and latest time (UTC microseconds,
# meaningless without rows), and its SHA-256 where there is a manifest to compare it with.
_Read = tuple[int, bytes, int | None, int | None, str | None]


class _Hash(Protocol):
    """What hashlib makes."""

    def update(self, data: bytes, /) -> object:
        """Take more data."""

    def hexdigest(self) -> str:
        """The hash, in hexadecimal digits."""


class _Reading:
    """An archive, or several of one export, as far as they have been read."""

    _file: IO[bytes]

    def __init__(
        self,
        manifest: Manifest | None,
        progress: _Progress | None,
        complain: _Complain,
        listed: Callable[[], bool],
        warn: _Complain,
    ) -> None:
        self.members = self.conversations = self.rows = 0
        self.guard = Guard()
        self._manifest = manifest
        self._progress = progress
        self._tell_all = self._complain = complain
        self._warn = warn
        self._homes = Homes(complain, listed)
        self._number = 1
        self._header: bytes | None = None
        self._header_of = ""
        self._at = self._stop = 0

    def dialect(self) -> CsvDialect | None:
        """How the CSVs are written, as far as they tell."""
        if self._header is None:
            return None
        guarded = self.guard.by_formula
        return CsvDialect(
            bom=self._header.startswith(BOM),
            line_end="\r\n" if self._header.endswith(b"\r\n") else "\n",
            formula_guard=guarded,
            bare_e164=guarded and self.guard.phones > 0,
            digits_guard=self.guard.by_digits,
        )

    def read_file(self, path: Path, number: int, count: int) -> int:
        """Read one archive, the `number`th of so many; returns its size."""
        tell = self._tell_all
        # Members' names say where they are; what is wrong with the directory does not.
        self._complain = tell if count == 1 else lambda problem: tell(f"{path.name}: {problem}")
        self._number, before = number, self.members
        with path.open("rb") as self._file:
            size = os.fstat(self._file.fileno()).st_size
            self._homes.begin(path, size)
            try:
                self._read()
            except ArchiveError as error:
                self._complain(str(error))
            if self._manifest is not None and self._manifest.archives:
                self._file.seek(0)
                digest = file_digest(self._file, "sha256").hexdigest()
                self._manifest.compare_archive(self._manifest.archives[number - 1], size, digest, self.members - before)
        return size

    def finish(self) -> None:
        """There are no more archives."""
        self._complain = self._tell_all
        self._homes.finish()
        if self._manifest is not None:
            self._manifest.finish(self._homes.has_name)
            if self._manifest.guarded and (self._manifest.unguarded or self.guard.unsafe):
                self._complain("some members were written with the formula guard and others without it")

    def _read(self) -> None:
        """Read it all. Raises ArchiveError where it makes no sense to read on."""
        end = find_end(self._file)
        self._at, self._stop = 0, end.start
        whole, before = True, self.members
        for some in records(self._file, end, self._complain):
            self.members += len(some)
            if whole:
                whole = self._read_records(some)
        if whole and self._at != end.start:
            self._complain(f"the directory begins at byte {end.start}, not {self._at}: a gap, an overlap or a prefix")
        for problem in end.problems(self.members - before):
            self._complain(problem)

    def _read_records(self, some: Records) -> bool:
        """Read the members of some records; False where the rest cannot be read, as they overlap."""
        names = some.shown_names()
        sizes = spans(some)
        ends = some.offsets + sizes
        gaps = some.offsets - np.concatenate(([self._at], ends[:-1]))
        whole = True
        for number in np.flatnonzero(gaps).tolist():
            should = self._at if not number else int(ends[number - 1])
            self._complain(
                f"{names[number]!r} begins at byte {some.offsets[number]}, not {should}: a gap, an overlap or a prefix"
            )
            if gaps[number] < 0:
                self._complain("members overlap: none of the rest is read")
                some, names, sizes, ends, whole = some[:number], names[:number], sizes[:number], ends[:number], False
                break
        check_records(some, names, self._complain)
        check_names(names, some.fixed["date"].astype(np.int64), some.fixed["time"].astype(np.int64), self._complain)
        self._homes.add_names(names, some.at)
        for group in _groups(some, sizes, gaps):
            self._read_group(some[group], names[group], sizes[group])
            self._at = int(ends[group.stop - 1])
            if self._progress is not None:
                self._progress(min(self._at, self._stop), self._stop)
        return whole

    # --- members ---------------------------------------------------------------------------------------------------

    def _read_group(self, some: Records, names: list[str], sizes: NDArray[np.int64]) -> None:
        """Read members that stand one after another: one, or as many as are held together."""
        if len(some) == 1 and max(int(sizes[0]), int(some.fixed["csv_bytes"][0])) > LONGEST_HELD:
            self._check_around(some, 0, names[0])
            found = [self._read_long(some.entry(0))]
        else:
            found = self._read_whole(some, names, sizes)
        self._tell(some, names, found)

    def _check_around(self, some: Records, number: int, name: str) -> None:
        """Look at what stands before and behind one member."""
        raw, fixed, offset = some.names[number], some.fixed[number], int(some.offsets[number])
        before = bytes_at(self._file, offset, LOCAL_BYTES + len(raw))
        check_local(name, raw, before, fixed, self._complain)
        expected = descriptor(fixed)
        behind = offset + LOCAL_BYTES + len(raw) + int(fixed["packed_bytes"])
        if bytes_at(self._file, behind, len(expected)) != expected:
            self._complain(f"{name!r}: the data descriptor disagrees with the directory")

    def _read_whole(self, some: Records, names: list[str], sizes: NDArray[np.int64]) -> list[_Read | None]:
        base = int(some.offsets[0])
        data = bytes_at(self._file, base, int(sizes.sum()))
        begins = some.offsets - base
        starts = begins + LOCAL_BYTES + some.fixed["name_length"]
        stops = starts + some.fixed["packed_bytes"]
        around = _right_around(data, some, begins, starts, stops)
        for number in np.flatnonzero(~around).tolist():
            self._check_around(some, number, names[number])
        slices = map(slice, starts.tolist(), stops.tolist())
        csvs = unpacked(map(data.__getitem__, slices), some.fixed)
        found: list[_Read | None] = [None] * len(some)
        first = 0
        while self._header is None and first < len(some):  # the first CSV tells how all are written
            self._read_plain(some, csvs, range(first, first + 1), found)
            first += 1
        if first < len(some):
            self._read_plain(some, csvs, range(first, len(some)), found)
        return found

    def _read_plain(self, some: Records, csvs: list[bytes | None], which: range, found: list[_Read | None]) -> None:
        """Read members that were unpacked, all together, or in halves where something is wrong with them."""
        header = self._header
        chosen = csvs[which.start : which.stop]
        reads = self._plain(chosen, header) if header is not None else None
        if reads is not None:
            found[which.start : which.stop] = reads
        elif len(which) == 1:
            entry, csv = some.entry(which.start), csvs[which.start]
            # What could not be unpacked is unpacked again for what is wrong with it.
            found[which.start] = self._read_long(entry, None if csv is None else iter([csv]))
        else:
            half = len(which) // 2
            self._read_plain(some, csvs, which[:half], found)
            self._read_plain(some, csvs, which[half:], found)

    def _plain(self, csvs: list[bytes | None], header: bytes) -> list[_Read] | None:
        """What some CSVs say; None if anything is wrong with one of them."""
        size = len(header)
        bodies = [csv[size:] for csv in csvs if csv is not None and csv.startswith(header)]
        if len(bodies) < len(csvs):
            return None
        body = b"".join(bodies)
        try:
            body.decode()
        except UnicodeDecodeError:
            return None
        bounds = np.concatenate((np.zeros(1, np.int64), np.cumsum(list(map(len, bodies)))))
        facts = plain_facts(body, bounds, HEADERS[header])
        if facts is None or not distinct(facts):
            return None
        self.guard.add(facts.guard)
        hashes: list[str | None] = [None] * len(csvs)
        if self._manifest is not None:
            hashes = [sha256(csv or b"").hexdigest() for csv in csvs]
        return list(zip(facts.rows.tolist(), facts.ids, facts.first.tolist(), facts.last.tolist(), hashes, strict=True))

    def _read_long(self, entry: Entry, given: Iterator[bytes] | None = None) -> _Read | None:
        """Read one member, whatever is wrong with it; None if that ends before the CSV does."""
        facts, digest = MemberFacts(), sha256()
        data = self._watched(entry, digest) if given is None else _hashed(given, digest)

        def refuse(problem: str) -> None:
            self._complain(f"{entry.name!r}: {problem}")

        try:
            header, line_end, rest = header_of(data)
            self._check_header(entry.name, header)
            for rows in whole_rows(rest):
                plain = plain_facts(rows, np.array([0, len(rows)]), line_end)
                if plain is None or not facts.take(plain):
                    read_rows(rows, line_end, facts, refuse)
        except ArchiveError as error:
            refuse(cause(error, data))
            return None
        for row, before in facts.again():
            self._warn(f"{entry.name!r}: row {row}, column 'message_id': its id is also that of row {before}")
        self.guard.add(facts.guard)
        return facts.rows, facts.conversation or b"", facts.first, facts.last, digest.hexdigest()

    def _watched(self, entry: Entry, digest: _Hash) -> Iterator[bytes]:
        """A member's CSV as it is unpacked, with progress told."""
        done = 0
        for chunk in _hashed(chunks(self._file, entry), digest if self._manifest is not None else None):
            yield chunk
            done += len(chunk)
            if self._progress is not None:
                share = entry.packed_bytes * min(done, entry.csv_bytes) // max(entry.csv_bytes, 1)
                self._progress(min(entry.offset + share, self._stop), self._stop)

    def _check_header(self, name: str, header: bytes) -> None:
        if self._header is None:
            self._header, self._header_of = header, name
        elif header != self._header:
            what = "line ends" if header.startswith(BOM) == self._header.startswith(BOM) else "byte order mark"
            self._complain(f"{name!r}: its {what} are not those of {self._header_of!r}: one export writes all alike")

    # --- what members have to do with each other ---------------------------------------------------------------------

    def _tell(self, some: Records, names: list[str], found: list[_Read | None]) -> None:
        """Take the facts of members, in their order."""
        ids = [read and read[1] for read in found]
        parts = self._homes.add(names, ids, some.at)
        whole = [read[0] for read in found if read]
        self.rows += sum(whole)
        self.conversations += len(whole) - sum(
            read is not None and part > 1 for read, part in zip(found, parts, strict=True)
        )
        if self._manifest is None:
            return
        columns = (some.fixed[field].tolist() for field in ("csv_bytes", "packed_bytes", "crc32"))
        for name, read, part, csv_bytes, packed_bytes, crc32 in zip(names, found, parts, *columns, strict=True):
            record = _record(name, read, part, csv_bytes, packed_bytes, crc32, self._number)
            self._manifest.compare(name, record)


def _hashed(data: Iterator[bytes], digest: _Hash | None) -> Iterator[bytes]:
    for chunk in data:
        if digest is not None:
            digest.update(chunk)
        yield chunk


def _record(
    name: str, read: _Read | None, part: int, csv_bytes: int, packed_bytes: int, crc32: int, archive: int
) -> MemberRecord | None:
    if read is None:
        return None
    rows, conversation, first, last, hash_ = read
    begun, ended = (instant(us) if rows and us is not None else None for us in (first, last))
    id_ = conversation.decode(errors="backslashreplace")
    return MemberRecord(name, id_, part, rows, csv_bytes, packed_bytes, crc32, begun, ended, hash_, archive)


def _groups(some: Records, sizes: NDArray[np.int64], gaps: NDArray[np.int64]) -> Iterator[slice]:
    """Runs of members that stand one after another and are not too many bytes to hold, as slices."""
    weights = np.maximum(sizes, some.fixed["csv_bytes"])
    filled = np.cumsum(weights) // LONGEST_HELD
    breaks = (filled[1:] != filled[:-1]) | (gaps[1 : len(some)] != 0) | (weights[1:] > LONGEST_HELD)
    breaks |= weights[:-1] > LONGEST_HELD
    edges = [0, *(np.flatnonzero(breaks) + 1).tolist(), len(some)]
    yield from (slice(begin, stop) for begin, stop in pairwise(edges) if stop > begin)


def _right_around(
    data: bytes, some: Records, begins: NDArray[np.int64], starts: NDArray[np.int64], stops: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which members have the right records before and behind their data."""
    expected = local_headers(some.fixed)
    codes = np.frombuffer(data, np.uint8)
    if int(stops[-1]) > len(data):
        return np.zeros(len(some), np.bool_)
    found = codes[begins[:, None] + np.arange(LOCAL_BYTES)]
    right: NDArray[np.bool_] = (found == expected.view(np.uint8).reshape(found.shape)).all(axis=1)
    places = map(slice, (begins + LOCAL_BYTES).tolist(), starts.tolist())
    if list(map(data.__getitem__, places)) != some.names:
        right &= [
            data[begin + LOCAL_BYTES : start] == name
            for begin, start, name in zip(begins, starts, some.names, strict=True)
        ]
    for number in np.flatnonzero(some.fixed["flags"] & 8).tolist():
        behind = descriptor(some.fixed[number])
        right[number] &= data.startswith(behind, int(stops[number]))
    return right
