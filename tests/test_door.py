"""A package's door says which extra is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from export_engine.door import door


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """A package with a module that needs a library that nobody has."""
    (tmp_path / "needy").mkdir()
    (tmp_path / "needy" / "__init__.py").touch()
    (tmp_path / "needy" / "rules.py").write_text("import a_library_that_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    return {"__name__": "needy", "__all__": ["rule"]}


def test_a_missing_library_names_its_extra(package: dict[str, object]) -> None:
    """What is missing, what needs it, how to have it."""
    load, _ = door(package, {"rule": "rules"}, extra="jobs")
    with pytest.raises(ModuleNotFoundError) as caught:
        load("rule")
    assert str(caught.value) == (
        "a_library_that_nobody_has is missing, which needy.rule needs: pip install 'export-engine[jobs]'"
    )
    assert caught.value.name == "a_library_that_nobody_has"


def test_without_an_extra_the_error_is_python_s(package: dict[str, object]) -> None:
    """A library that always has to be there."""
    load, _ = door(package, {"rule": "rules"})
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'a_library_that_nobody_has'$"):
        load("rule")
