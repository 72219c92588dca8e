"""A package's door: names that are loaded, with the libraries that they need, when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["door"]


def door(
    package: dict[str, Any], names: Mapping[str, str], *, extra: str | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` (PEP 562) for a package, given its `globals()`.

    `names` says in which of the package's modules each name stands. What was loaded once stands in the package itself.
    `extra` is what has to be installed for them: a library that is missing is a ModuleNotFoundError that says so.
    """

    def load(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package['__name__']!r} has no attribute {name!r}")
        try:
            value = getattr(import_module(f"{package['__name__']}.{names[name]}"), name)
        except ModuleNotFoundError as error:
            if extra is None or "pip install" in str(error):
                raise
            raise ModuleNotFoundError(
                f"{error.name} is missing, which {package['__name__']}.{name} needs: "
                f"pip install 'export-engine[{extra}]'",
                name=error.name,
            ) from error
        package[name] = value
        return value

    return load, lambda: sorted({*package, *package["__all__"]})
