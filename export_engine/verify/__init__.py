"""Check an archive by another road than the one it was written on: container, names, rows, and a manifest beside it.

`verify_archive` is the way in, `verify_archives` for several of one export. Nothing is shared with the writer but the
columns' names.
"""

from __future__ import annotations

from export_engine.verify.archive import MAX_PROBLEMS, Verification, verify_archive, verify_archives

__all__ = ["MAX_PROBLEMS", "Verification", "verify_archive", "verify_archives"]
