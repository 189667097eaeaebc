"""Federated learning on hospitals' own images: a plugin for Flower, powered by MONAI.

Importing this package is cheap on purpose: it needs neither torch nor monai. What notebooks and scripts call is here
(``medfl.simulate``, see `medfl.api`) and is imported when it is used; every room is imported by its name, for example
``from medfl.study import Study``.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medfl.api import OpenRun, OpenStudy, RunEvent, list_runs, open_run, open_study, simulate
else:

    def __getattr__(name: str) -> object:
        """Import what notebooks call when it is first used."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from medfl import api

        return getattr(api, name)

    def __dir__() -> list[str]:
        """Return the names of this module, also of what is imported later."""
        return sorted({*globals(), *__all__})


DISTRIBUTION = "flwr-medfl"  # what pip installs: on PyPI, "medfl" is somebody else's project

try:
    __version__ = version(DISTRIBUTION)
except PackageNotFoundError:  # a bare checkout on sys.path, never installed
    __version__ = "0.0.0"

__all__ = [
    "DISTRIBUTION",
    "OpenRun",
    "OpenStudy",
    "RunEvent",
    "__version__",
    "list_runs",
    "open_run",
    "open_study",
    "simulate",
]
