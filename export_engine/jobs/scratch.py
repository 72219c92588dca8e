"""Folders for the temporary files of processes that may be killed: each goes with its owner, or when the next is made.

Who makes one holds a lock on it, which the system lifts whatever becomes of its owner. A folder without a lock is
nobody's, and whoever makes another removes it. Where folders cannot be locked (Windows, some network drives) those of
killed owners stay.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

try:
    import fcntl
except ModuleNotFoundError:  # on Windows
    _LOCKS = False
else:
    _LOCKS = True

__all__ = ["private_folder"]

_PREFIX = "export-engine-run-"


def private_folder() -> tuple[str, Callable[[], None]]:
    """A new folder for temporary files, and what removes it.

    Those of owners that have been killed are removed before. Raises OSError if no folder can be made.
    """
    for other in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            lock = _locked(other)
        except OSError:  # it is in use, or another user's, or gone
            continue
        if lock is not None:
            _remove(other, lock)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        try:
            lock = _locked(folder)
        except (BlockingIOError, FileNotFoundError):  # another has taken it for nobody's in this moment
            continue
        return str(folder), partial(_remove, folder, lock)


def _locked(folder: Path) -> int | None:
    """The descriptor that holds the lock; None where there are no locks.

    Raises BlockingIOError if another has it, FileNotFoundError if the folder has gone.
    """
    if not _LOCKS:
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.stat()
    except (BlockingIOError, FileNotFoundError):
        os.close(descriptor)
        raise
    except OSError:  # this file system has none
        os.close(descriptor)
        return None
    return descriptor


def _remove(folder: Path, lock: int | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if lock is not None:
        os.close(lock)
