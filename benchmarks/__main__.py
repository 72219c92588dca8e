"""All benchmarks, and the page of results: on a quiet machine with two processors, 20 to 25 minutes.

    python -m benchmarks [--busy] [--rows N] [--rounds N] [--folder FOLDER] [--json FILE]

Refuses to begin on a machine that is busy. Writes `RESULTS.md` and its charts into the folder (this package's own), in
the place of those that are there; `--json FILE` keeps the run too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.machine import MOST_LOAD, load
from benchmarks.report import write_report

__all__ = ["main"]

_HERE = Path(__file__).parent


def main() -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run all benchmarks; write RESULTS.md.")
    parser.add_argument("--busy", action="store_true", help="run on a busy machine too; the page will say so")
    parser.add_argument("--rows", type=int, default=400_000, help="rows of a data set (400000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each measurement (3)")
    parser.add_argument("--folder", type=Path, default=_HERE, help="where the page goes (beside the benchmarks)")
    parser.add_argument("--json", type=Path, help="where to keep the run")
    given = parser.parse_args()
    if (before := load() or 0) > MOST_LOAD and not given.busy:
        print(f"The load average is {before:.2f}, above {MOST_LOAD}: wait until the machine is quiet, or say --busy.")
        return 1
    with TemporaryDirectory() as folder:
        saved = (given.json or Path(folder, "run.json")).resolve()
        sizes = [f"--rows={given.rows}", f"--rounds={given.rounds}"]
        command = [
            sys.executable,
            "-m",
            "pytest",
            f"{_HERE}",
            *sizes,
            f"--benchmark-json={saved}",
            "-p",
            "no:cacheprovider",
        ]
        done = subprocess.run(command, cwd=_HERE.parent, check=False)
        if done.returncode:
            return done.returncode
        write_report(json.loads(saved.read_text(encoding="utf-8")), given.folder)
    print(f"Written: {given.folder / 'RESULTS.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
