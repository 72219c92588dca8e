"""Check an archive by another road than the one it was written on: container, names, rows, and a manifest beside it.

`verify_archive` is the way in, `verify_archives` for several of one export. Nothing is shared with the writer but the
columns' names.
"""

from __future__ import annotations

from export_engine.verify.archive import verify_archive, verify_archives
from export_engine.verify.verification import MAX_PROBLEMS, Verification

__all__ = ["MAX_PROBLEMS", "Verification", "verify_archive", "verify_archives"]
