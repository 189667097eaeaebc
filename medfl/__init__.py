"""Federated learning on hospitals' own images: a plugin for Flower, powered by MONAI.

Importing this package is cheap on purpose: it needs neither torch nor monai. Every room is imported by its name, for
example ``from medfl.study import Study``.
"""

from importlib.metadata import PackageNotFoundError, version

DISTRIBUTION = "flwr-medfl"  # what pip installs: on PyPI, "medfl" is somebody else's project

try:
    __version__ = version(DISTRIBUTION)
except PackageNotFoundError:  # a bare checkout on sys.path, never installed
    __version__ = "0.0.0"

__all__ = ["DISTRIBUTION", "__version__"]
