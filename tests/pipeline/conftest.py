"""What the pipeline's tests share."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(params=["kernel", "Python"], scope="module")
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """The kernel's way to do it, and the one without: for modules every fact of which holds for both."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "Python":
            patch.setitem(sys.modules, "export_engine._native", None)
        else:
            pytest.importorskip("export_engine._native", reason="built where there is a compiler")
        yield request.param
