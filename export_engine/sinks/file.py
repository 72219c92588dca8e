"""An archive as a file that appears whole or not at all.

The bytes go to a hidden `.part` file beside the target, which is synced and then given its name in one step. Whatever
goes wrong before that (the source, a full disk, an interrupt) removes the `.part` file and arrives as it was raised.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from export_engine.errors import ArchiveError
from export_engine.sinks import Streamable
from export_engine.sinks.manifest import open_manifest

__all__ = ["write_archive"]


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
    `.parquet`; it appears just before the archive. Files that exist are replaced only with `overwrite`.

    Raises ArchiveError if a file is there already, OSError from the disk, and whatever the export raises.
    """
    path = _resolve(target, export.file_name)
    with ExitStack() as stack:
        # The archive is named last: where it is, everything is. Callbacks run in reverse order.
        file = stack.enter_context(_appearing(path, overwrite=overwrite))
        if manifest is not None:
            record = stack.enter_context(
                open_manifest(
                    Path(manifest).suffix, stack.enter_context(_appearing(Path(manifest), overwrite=overwrite))
                )
            )
            export.listen(record, sha256=True)
        for chunk in export:
            file.write(chunk)
    return path


def _resolve(target: str | os.PathLike[str], file_name: str) -> Path:
    path = Path(target)
    if os.fspath(target).endswith((os.sep, os.altsep or os.sep)):
        path.mkdir(parents=True, exist_ok=True)
    return path / file_name if path.is_dir() else path


@contextmanager
def _appearing(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A file to write that gets its name when the block ends well and vanishes when it does not."""
    if not overwrite and path.exists():
        raise _taken(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path.parent))
    part = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _name(part, path, overwrite=overwrite)
    except BaseException:
        with suppress(FileNotFoundError):
            part.unlink()
        raise


def _name(part: Path, path: Path, *, overwrite: bool) -> None:
    """Give the finished file its name, in one step."""
    if overwrite:
        part.replace(path)
    else:
        try:
            os.link(part, path)  # unlike a rename, never replaces a file that came in the meantime
        except FileExistsError:
            raise _taken(path) from None
        except OSError:  # no hard links on this file system
            if path.exists():
                raise _taken(path) from None
            part.rename(path)
        else:
            part.unlink()
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    """Make the new name survive a crash, where the platform can."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _taken(path: Path) -> ArchiveError:
    return ArchiveError(f"{path} exists already: choose another place, or ask to overwrite it")
