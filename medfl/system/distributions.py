"""Installed packages: the distribution that provides each, which pip knows by another name, and its version."""

from __future__ import annotations

from importlib import metadata

from medfl import DISTRIBUTION

_PROVIDERS = {"medfl": (DISTRIBUTION,), "flwr": ("flwr", "flwr-nightly")}


def package_version(package: str) -> str:
    """Return the version of an installed package, or "not installed".

    Parameters
    ----------
    package : str
        Its name: that of the distribution, but ``medfl`` and ``flwr`` as they are imported.
    """
    for name in _PROVIDERS.get(package, (package,)):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "not installed"
