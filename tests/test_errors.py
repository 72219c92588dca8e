"""The trees of errors that are drawn hold every error there is."""

from __future__ import annotations

import pickle
import pkgutil
import re
from importlib import import_module

import pytest

import export_engine
from export_engine.errors import ExportError, GroupingError, OptionError, RowError
from export_engine.jobs.errors import RevisionError

DRAWN_IN = {"jobs": "export_engine.jobs.errors", "service": "export_engine.service.errors"}


def raised() -> dict[type[ExportError], str]:
    """Every error of the library's own, with the module that draws it."""
    for module in pkgutil.walk_packages(export_engine.__path__, "export_engine."):
        if not module.name.endswith(".__main__"):
            try:
                import_module(module.name)
            except ModuleNotFoundError as missing:  # a library that only some environments have: Spark's
                if missing.name not in {"pyspark", "pyspark.sql"}:
                    raise
    found: dict[type[ExportError], str] = {}
    waiting: list[type[ExportError]] = [ExportError]
    while waiting:
        error = waiting.pop()
        if error.__module__.startswith("export_engine."):
            found[error] = DRAWN_IN.get(error.__module__.split(".")[1], "export_engine.errors")
        waiting += error.__subclasses__()
    return found


@pytest.mark.parametrize("module", ["export_engine.errors", *DRAWN_IN.values()])
def test_the_tree_is_complete(module: str) -> None:
    """What is drawn under a name is that error's own kind, and none is missing."""
    drawn = re.findall(r"^[ │├└─]*(\w+Error)\b.*", import_module(module).__doc__ or "", re.MULTILINE)
    # The root may be another tree's.
    own = {error.__name__ for error, home in raised().items() if home == module}
    assert own <= set(drawn)
    assert set(drawn[1:]) <= own


@pytest.mark.parametrize("module", ["export_engine.errors", *DRAWN_IN.values()])
def test_the_tree_says_what_derives_from_what(module: str) -> None:
    """Each error stands under its base."""
    namespace = vars(import_module(module))
    above: list[tuple[int, str]] = []
    for indent, name in re.findall(r"^([ │├└─]*)(\w+Error)\b", namespace["__doc__"], re.MULTILINE):
        above = [(width, other) for width, other in above if width < len(indent)]
        if above:
            assert namespace[above[-1][1]] in namespace[name].__bases__
        above.append((len(indent), name))


@pytest.mark.parametrize(
    "error",
    [
        OptionError("no", option="threads"),
        RowError("is null", column="message_id", value=None, conversation_id="c", row=3, advice="give one"),
        GroupingError("c-1"),
        RevisionError("older", revision="0001"),
    ],
)
def test_errors_pickle(error: ExportError) -> None:
    """Another process's error arrives with its message and its attributes."""
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
