"""Checks of the installation: versions, that the running medfl is the installed one, and that nothing else owns its folder."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import medfl
from medfl.deploy.doctor.check_result import CheckResult
from medfl.system.distributions import package_version

FLWR_RANGE = ((1, 42), (1, 43))  # at least, and below; as in pyproject.toml
_PACKAGES = ("medfl", "flwr", "torch", "monai", "numpy", "nibabel", "pydicom", "cryptography")
_FORMER_NAME = "medfl"  # of development installations; on PyPI it is another project


def check_installation() -> Iterator[CheckResult]:
    """Check what is installed here: versions, and whose code runs as medfl."""
    yield check_versions()
    yield from check_code()


def check_code() -> Iterator[CheckResult]:
    """Check whose code runs as medfl."""
    yield check_not_shadowed()
    yield from check_distributions()


def check_versions() -> CheckResult:
    """Report the versions that both sides should share, and refuse a Flower that medfl was not tested with."""
    versions = {name: package_version(name) for name in _PACKAGES}
    flower = tuple(int(part) for part in versions["flwr"].split(".")[:2]) if versions["flwr"][0].isdigit() else (0, 0)
    what = f"Python {platform.python_version()}, {', '.join(f'{name} {version}' for name, version in versions.items())}."
    if not FLWR_RANGE[0] <= flower < FLWR_RANGE[1]:
        at_least, below = (".".join(map(str, version)) for version in FLWR_RANGE)
        return CheckResult("VERSIONS", "error", what, f"medfl needs another Flower: pip install 'flwr>={at_least},<{below}'.")
    return CheckResult("VERSIONS", "ok", what)


def check_not_shadowed(module: Path = Path(medfl.__file__)) -> CheckResult:
    """Check that the imported medfl is the installed one, and not another folder of that name."""
    fix = "Start it from another folder, and unset PYTHONPATH."
    try:
        installed = metadata.distribution(medfl.DISTRIBUTION)
    except metadata.PackageNotFoundError:
        what = "medfl runs from a folder and is not installed."
        return CheckResult("SHADOWED", "warning", what, "Install it as the README says.")
    if module.resolve() in _import_paths(installed):
        return CheckResult("SHADOWED", "ok", "The running medfl is the installed one.")
    return CheckResult("SHADOWED", "error", "The running medfl is not the installed one.", fix)


def check_distributions() -> Iterator[CheckResult]:
    """Look for a distribution named medfl: somebody else's project, or a development installation from before the renaming."""
    found = list(metadata.distributions(name=_FORMER_NAME))
    if not found:
        return
    if all(_is_development(distribution) for distribution in found):
        what = f"This is a development installation under the former name '{_FORMER_NAME}'; it is '{medfl.DISTRIBUTION}' now."
        yield CheckResult("DISTRIBUTION", "warning", what, "Make the environment again, in the repository: make clean venv.")
    else:
        what = (
            f"The package '{_FORMER_NAME}' is installed too. It is another project that owns the folder medfl/ as "
            f"'{medfl.DISTRIBUTION}' does, so code of either may run."
        )
        fix = f"Run 'pip uninstall {_FORMER_NAME} {medfl.DISTRIBUTION}', then install {medfl.DISTRIBUTION} again."
        yield CheckResult("DISTRIBUTION", "error", what, fix)


def _import_paths(installed: metadata.Distribution) -> set[Path]:
    """Return where the installed package may be imported from: its files, or the folder of a development install."""
    paths = {Path(str(installed.locate_file("medfl/__init__.py"))).resolve()}
    url = urlsplit(_direct_url(installed).get("url", ""))
    if url.scheme == "file":
        paths.add((Path(unquote(url.path)) / "medfl" / "__init__.py").resolve())
    return paths


def _is_development(installed: metadata.Distribution) -> bool:
    """Return whether pip installed a folder in place, or what it left there (an ``.egg-info``) was found."""
    in_place = bool(_direct_url(installed).get("dir_info", {}).get("editable", False))
    is_egg_info = installed.read_text("METADATA") is None  # beside it lies the project's own pyproject.toml, and not anyone's
    return in_place or (is_egg_info and Path(str(installed.locate_file("pyproject.toml"))).is_file())


def _direct_url(installed: metadata.Distribution) -> dict[str, Any]:
    return dict(json.loads(installed.read_text("direct_url.json") or "{}"))
