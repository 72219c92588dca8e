"""An archive as a file that appears whole or not at all, and never in place of anything but a regular file.

The bytes go to a hidden `.part` file beside the target, which is synced and then given its name in one step. Whatever
goes wrong before that (the source, a full disk, an interrupt) removes the `.part` file and arrives as it was raised.

What is there already is safe: devices, pipes, sockets and directories are refused as targets, files are replaced only
when that is asked for, a symbolic link is followed (what it leads to is replaced, the link stays), a file that has
other names keeps its content under them, and no file that the export reads is ever written over.

A process that is killed (SIGKILL, the power) leaves hidden files: `.<name>.<8 hexadecimal digits>.part`, of what it was
writing or replacing. They are not removed by the next export, as another may be at work on them; once none is, they
can go: `find FOLDER -name '.*.part' -delete`. (A batch does it, as it knows of others.) Killed while it replaced a set
of archives, it may leave some of either: write it again.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import sys
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, BinaryIO

from export_engine.errors import ArchiveError, OptionError
from export_engine.report import archive_name
from export_engine.sinks import Streamable
from export_engine.sinks.whole import HEAD, refuse_foreign, write_whole

__all__ = ["FilePlace", "check_place", "inputs_of", "write_archive"]

#: Two letters or more (one is a Windows drive) and `://`, or a store's scheme and what `pathlib` leaves of `://`.
_URL = re.compile(r"[a-z][a-z0-9+.-]+://|(?:s3a?|gs|az|azure|abfss?|adl|file|https?):/", re.IGNORECASE)

_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
_KINDS |= dict.fromkeys((stat.S_IFCHR, stat.S_IFBLK), "a device")

_Input = str | os.PathLike[str] | int


def write_archive(
    export: Streamable,
    target: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    manifest: str | os.PathLike[str] | None = None,
) -> Path:
    """Write an export to a file; returns its path.

    `target` is a directory, which gets the archive under `export.file_name` (it is made if the path ends in a slash),
    or the file's own path. `manifest` is where the members' records go: JSON Lines, or Parquet if it ends in
    `.parquet`; it appears just before the archive.

    An export with `max_archive_size` may be several archives: the others are `x-2.zip`, `x-3.zip` ... beside `x.zip`.
    All are written in full before one of them has its name, and the first gets its last. With `overwrite` an older set
    is replaced, and what it had more is removed; after a failure it is as it was (but on file systems without hard
    links). Without it, or where a file of such a name does not begin as this engine's archives do, nothing is touched.
    (An export of one archive does not look for numbers.)

    Files that exist are replaced only with `overwrite`. A new file has the permissions that the umask leaves; one that
    replaces another has the other's, but belongs to whoever writes it.

    Raises OptionError for a URL (see `upload_archive`) and for what is no path; ArchiveError if a file is there
    already, if something is there that is no regular file, or if archive, manifest or one of `export.inputs` are the
    same file; OSError from the disk; and whatever the export raises.
    """
    check_place(target, "target")
    _refuse_url(
        target, "target", "a store is written s3://bucket/prefix/, gs:// or az:// (in Python upload_to, upload_archive)"
    )
    if manifest is not None:
        check_place(manifest, "manifest")
        _refuse_url(manifest, "manifest", "a manifest goes to a store only if the archive does")
    inputs = inputs_of(export)
    folder = _is_folder(target)
    path = Path(target) / export.file_name if folder else Path(target)
    alone = manifest is None and getattr(export, "max_archive_size", None) is None
    archives = _FilePlaces(path, overwrite=overwrite, inputs=inputs, alone=alone)
    listed = None if manifest is None else FilePlace(Path(manifest), overwrite=overwrite, inputs=inputs)
    if folder:
        path.parent.mkdir(parents=True, exist_ok=True)
    archives.keep_from(listed)
    write_whole(export, archives, listed, suffix=Path(manifest or "").suffix)
    return path


def inputs_of(export: Streamable) -> Iterable[_Input]:
    """The files that an export says it reads."""
    inputs: Iterable[_Input] = getattr(export, "inputs", ())
    return inputs


def check_place(given: object, option: str) -> None:
    """Raise OptionError for what is no place to write to: no text and no path, nothing, or a NUL in it."""
    path = os.fspath(given) if isinstance(given, os.PathLike) else given
    if not isinstance(path, str):
        raise OptionError(
            f"{option} is {given!r}: give a path as text or a Path; for anything else iterate the export", option=option
        )
    if not path or "\0" in path:
        raise OptionError(f"{option} is {path!r}: give the path of a file or a directory", option=option)


def _refuse_url(given: str | os.PathLike[str], option: str, advice: str) -> None:
    if _URL.match(os.fspath(given)):
        raise OptionError(
            f"{os.fspath(given)} is a URL, not a file's path: {advice}; for a folder of that name write ./ before it",
            option=option,
        )


def _is_folder(target: str | os.PathLike[str]) -> bool:
    """Whether the archive goes into the target, under its own name."""
    given = os.fspath(target)
    if os.path.isdir(given):  # noqa: PTH112  # as it was written: pathlib drops the slash
        return True
    slashes = os.sep + (os.altsep or "")
    if not given.endswith(tuple(slashes)):
        return False
    if os.path.lexists(given.rstrip(slashes)):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), given)
    return True


class _FilePlaces:
    """Files beside each other, or one `alone`; see `export_engine.sinks.whole.Places`.

    Raises as the first `FilePlace` does.
    """

    def __init__(self, path: Path, *, overwrite: bool, inputs: Iterable[_Input], alone: bool) -> None:
        self.file_name = path.name
        self._path = path
        self._overwrite = overwrite
        self._inputs = tuple(inputs)
        self._first = FilePlace(path, overwrite=overwrite, inputs=self._inputs, alone=alone)
        self._listed: FilePlace | None = None

    def keep_from(self, listed: FilePlace | None) -> None:
        """Refuse the manifest's place as an archive's."""
        self._listed = listed
        self._refuse_listed(self._first, self._path)

    def place(self, number: int) -> FilePlace:
        """The file of a number; another's is not replaced."""
        if number == 1:
            return self._first
        path = self._numbered(number)
        if self._overwrite:
            self._refuse_foreign(path)
        place = FilePlace(path, overwrite=self._overwrite, inputs=self._inputs)
        self._refuse_listed(place, path)
        return place

    def older(self, number: int) -> _Removal | None:
        """A file that is there, if it may be replaced."""
        path = self._numbered(number)
        if _stat(path, strict=True) is None:
            return None
        self.place(number)
        return _Removal(path)

    def spool(self) -> IO[bytes]:
        """On the disk that the archives are on."""
        return TemporaryFile(dir=self._path.parent)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(archive_name(self._path.name, number))

    def _refuse_foreign(self, path: Path) -> None:
        there = _stat(path, strict=True)
        if there is not None and stat.S_ISREG(there.st_mode):
            with path.open("rb") as file:
                refuse_foreign(str(path), file.read(HEAD))

    def _refuse_listed(self, place: FilePlace, path: Path) -> None:
        if self._listed is not None and place.same(self._listed):
            raise ArchiveError(f"{path} is to be the archive and the manifest: give each a path of its own")


class _Removal:
    """A file, or a link to one, that goes; see `export_engine.sinks.whole.Change`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: Path | None = None

    def finish(self) -> None:
        """Take its name away."""
        kept = _hidden(self._path)
        self._path.rename(kept)
        self._kept = kept

    def abandon(self, error: BaseException, /) -> None:
        """Give it its name again."""
        if self._kept is not None:
            _put_back(self._kept, self._path, error)

    def settle(self) -> None:
        """Remove it."""
        if self._kept is not None:
            with suppress(OSError):
                self._kept.unlink()


class FilePlace:
    """A file in the making; see `export_engine.sinks.whole.Place`.

    What it replaces is kept until all is settled, unless it is `alone`: then nothing that could fail comes after it.

    Raises ArchiveError for a path at which something is that is no regular file, or one of `inputs`, or, without
    `overwrite`, anything at all; OSError for symbolic links that lead round in a circle.
    """

    def __init__(self, path: Path, *, overwrite: bool, inputs: Iterable[_Input] = (), alone: bool = False) -> None:
        self._given = path
        self._overwrite = overwrite
        self._alone = alone
        self._file: BinaryIO | None = None
        self._part: Path | None = None
        self._replaces = False
        # What it replaces, under a name of its own.
        self._kept: Path | None = None
        self._identity: os.stat_result | None = None
        self._finished: os.stat_result | None = None
        there = _stat(path, strict=True)
        if there is not None:
            self._refuse_odd(there)
            if any(other is not None and os.path.samestat(there, other) for other in map(_stat, inputs)):
                raise ArchiveError(f"{path} is read by this export: choose another path to write to")
        self._path = Path(os.path.realpath(path))
        if there is not None and not _same(there, _stat(self._path)):
            raise ArchiveError(f"{path} leads to a file that has no name any more: choose another path")
        self._refuse_taken(there)

    def same(self, other: FilePlace) -> bool:
        """Whether both would be one file, now or once they are written."""
        here, there = _stat(self._path), _stat(other._path)  # its own kind
        if here is not None and _same(here, there):
            return True
        parents = [_stat(place._path.parent) for place in (self, other)]  # noqa: SLF001  # the same
        if parents[0] is None or not _same(parents[0], parents[1]):
            return False
        # Some file systems take these for the same name; on others nothing is lost by not using both.
        return _folded(self._path.name) == _folded(other._path.name)  # the same

    def begin(self) -> None:
        """Open the `.part` file."""
        there = _stat(self._path)
        self._refuse_taken(there)
        part = self._part = _hidden(self._path)
        try:
            self._file = part.open("xb")
        except OSError as error:
            raise _advised(error, self._path.parent) from None
        if there is not None and sys.platform != "win32":
            os.fchmod(self._file.fileno(), stat.S_IMODE(there.st_mode) & 0o777)

    def write(self, data: bytes, /) -> None:
        """Take bytes."""
        assert self._file is not None  # noqa: S101  # it has begun
        try:
            self._file.write(data)
        except OSError as error:
            raise self._named(error) from None

    def complete(self) -> None:
        """Sync the file, and close it."""
        file = self._file
        assert file is not None  # noqa: S101  # it has begun
        try:
            file.flush()
            os.fsync(file.fileno())
            self._identity = os.fstat(file.fileno())
            file.close()
        except OSError as error:
            raise self._named(error) from None

    def finish(self) -> None:
        """Give the file its name, in one step."""
        assert self._part is not None and self._identity is not None  # noqa: S101, PT018  # it is complete
        try:
            self._name(self._part, self._identity)
        except OSError as error:
            raise self._named(error) from None
        with suppress(OSError):  # where the platform can
            _sync_directory(self._path.parent)

    def abandon(self, error: BaseException, /) -> None:
        """Remove the `.part` file, or what has become of it; what it had replaced is there again."""
        if self._file is not None:
            with suppress(OSError):  # what could not be written cannot be flushed either
                self._file.close()
        left = [self._part] if self._part is not None else []
        is_there = self._finished is not None and _same(self._finished, _stat(self._path))
        if self._kept is not None and is_there:
            _put_back(self._kept, self._path, error)
        elif self._kept is not None:
            left.append(self._kept)
        elif is_there and not self._replaces:
            left.append(self._path)
        for path in left:
            try:
                path.unlink(missing_ok=True)
            except NotADirectoryError:  # it has never been there
                pass
            except OSError as why:
                error.add_note(f"{path} could not be removed: {why.strerror}")

    def settle(self) -> None:
        """Let go of what it replaced."""
        if self._kept is not None:
            with suppress(OSError):
                self._kept.unlink()

    def _name(self, part: Path, identity: os.stat_result) -> None:
        there = _stat(self._path)
        self._refuse_taken(there)  # something may have come meanwhile
        self._replaces = there is not None
        if self._overwrite:
            if self._replaces and not self._alone:
                kept = _hidden(self._path)
                with suppress(OSError):  # no hard links on this file system
                    os.link(self._path, kept)
                    self._kept = kept
            part.replace(self._path)
        else:
            try:
                os.link(part, self._path)  # unlike a rename, never replaces a file that came in the meantime
            except FileExistsError:
                raise self._taken() from None
            except OSError:  # no hard links on this file system
                self._refuse_taken(_stat(self._path))
                part.rename(self._path)
            else:
                part.unlink()
        self._finished = identity

    def _refuse_taken(self, there: os.stat_result | None) -> None:
        if there is not None:
            self._refuse_odd(there)
            if not self._overwrite:
                raise self._taken()

    def _refuse_odd(self, there: os.stat_result) -> None:
        if not stat.S_ISREG(there.st_mode):
            kind = _KINDS.get(stat.S_IFMT(there.st_mode), "something else")
            raise ArchiveError(f"{self._given} is {kind}, and only a regular file is replaced: choose another path")

    def _taken(self) -> ArchiveError:
        return ArchiveError(
            f"{self._given} exists already: choose another place, or give --overwrite (in Python overwrite=True)"
        )

    def _named(self, error: OSError) -> OSError:
        """An error of this file's under its own name: the system gives none, or the `.part` file's."""
        if error.errno is None or error.filename not in (None, os.fspath(self._part or "")):
            return error
        return OSError(error.errno, error.strerror, os.fspath(self._given))


def _stat(path: _Input, *, strict: bool = False) -> os.stat_result | None:
    """What is at a path, links followed; None if nothing is. `strict` raises what hides whether something is."""
    try:
        return os.stat(path)  # noqa: PTH116  # a descriptor too
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        if strict:
            raise
        return None


def _hidden(path: Path) -> Path:
    """A name beside a file that nothing has."""
    # A name may have 255 bytes: 50 characters have 200 at most.
    return path.with_name(f".{path.name[:50]}.{secrets.token_hex(4)}.part")


def _put_back(kept: Path, path: Path, error: BaseException) -> None:
    try:
        kept.replace(path)
    except OSError as why:
        error.add_note(f"{path} could not be put back, and is {kept} now: {why.strerror}")


def _same(one: os.stat_result, other: os.stat_result | None) -> bool:
    return other is not None and os.path.samestat(one, other)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _advised(error: OSError, folder: Path) -> OSError:
    """What keeps a file from being made, said of the folder that it was to be in."""
    if not folder.is_dir():
        if folder.exists():
            return NotADirectoryError(errno.ENOTDIR, "is a file, and a folder is needed here", os.fspath(folder))
        return FileNotFoundError(errno.ENOENT, "there is no such folder: make it first", os.fspath(folder))
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        reason = f"{error.strerror}, so no file can be made here: choose another folder, or see to its permissions"
        return OSError(error.errno, reason, os.fspath(folder))
    return error


def _sync_directory(path: Path) -> None:
    """Make the new name survive a crash."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
