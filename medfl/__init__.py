"""Federated learning on hospitals' own images: a plugin for Flower, powered by MONAI.

Importing this package is cheap on purpose: it needs neither torch nor monai. What notebooks and scripts call is here
(``medfl.simulate``, see `medfl.api`) and is imported when it is used; every room is imported by its name, for example
``from medfl.study import Study``.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from medfl.api import (
        OpenRun,
        OpenStudy,
        PredictionOptions,
        RunEvent,
        export_run,
        list_runs,
        load_run,
        open_run,
        open_study,
        predict,
        resume,
        simulate,
    )

DISTRIBUTION = "flwr-medfl"  # what pip installs: on PyPI, "medfl" is somebody else's project

try:
    __version__ = version(DISTRIBUTION)
except PackageNotFoundError:  # a bare checkout on sys.path, never installed
    __version__ = "0.0.0"

__all__ = [
    "DISTRIBUTION",
    "OpenRun",
    "OpenStudy",
    "PredictionOptions",
    "RunEvent",
    "__version__",
    "export_run",
    "list_runs",
    "load_run",
    "open_run",
    "open_study",
    "predict",
    "resume",
    "simulate",
]

if not TYPE_CHECKING:  # or a misspelt name would pass for one that is there
    __getattr__, _, _ = lazy_loader.attach(__name__, submod_attrs={"api": set(__all__) - {"DISTRIBUTION", "__version__"}})


def __dir__() -> list[str]:
    return __all__
