"""Federated learning on hospitals' own images: a plugin for Flower, powered by MONAI.

Importing this package is cheap on purpose: it needs neither torch nor monai. Every room is imported by its name, for
example ``from medfl.study import Study``.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("medfl")
except PackageNotFoundError:  # a bare checkout on sys.path, never installed
    __version__ = "0.0.0"

__all__ = ["__version__"]
