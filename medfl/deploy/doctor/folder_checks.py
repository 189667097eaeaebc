"""Checks of a folder: those of a site, or those of a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medfl.deploy.doctor.check_result import CheckResult
from medfl.deploy.doctor.server_checks import check_server
from medfl.deploy.doctor.site_checks import check_site
from medfl.errors import DeployError


def check_folder(folder: Path) -> Iterator[CheckResult]:
    """Check a site or a server.

    Parameters
    ----------
    folder : Path
        Folder with a ``site.toml`` or a ``federation.toml``, or one of these files.

    Raises
    ------
    DeployError
        ``DOCTOR-NOTHING`` when it holds neither.
    """
    folder = folder.parent if folder.is_file() else folder
    if (folder / "federation.toml").is_file():
        return check_server(folder)
    if (folder / "site.toml").is_file():
        return check_site(folder)
    raise DeployError(
        "DOCTOR-NOTHING",
        "there is neither a site.toml nor a federation.toml in this folder.",
        "Name the folder of a site or of a server: medfl doctor FOLDER.",
    )
