"""`python -m export_engine` is the command `export-engine`."""

from __future__ import annotations

from export_engine.cli import main

if __name__ == "__main__":
    main()
