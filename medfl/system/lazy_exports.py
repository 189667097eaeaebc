"""Names that a package exports and imports only when they are first used, so that importing the package stays cheap."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping


def export_lazily(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the functions ``__getattr__`` and ``__dir__`` of a package (PEP 562).

    Type checkers and editors do not run them: the package imports the same names for them, under ``if TYPE_CHECKING``.

    Parameters
    ----------
    package : str
        Name of the package, its ``__name__``.
    modules : mapping of str to str
        Module of each exported name.

    Examples
    --------
    >>> get, names = export_lazily("medfl", {"sqrt": "math"})
    >>> get("sqrt")(9.0), "sqrt" in names()
    (3.0, True)
    """

    def get(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(modules[name]), name)

    def names() -> list[str]:
        return sorted({*modules, *vars(sys.modules[package])})

    return get, names
