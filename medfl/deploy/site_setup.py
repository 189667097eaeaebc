"""Files of `medfl site init`: what a hospital creates before it asks to be enrolled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medfl.deploy.identity import make_key, write_request
from medfl.errors import ConfigError, Problem
from medfl.site import ensure_secret, init_site, read_site
from medfl.system.files import translate_disk_errors


@dataclass(frozen=True)
class SiteFiles:
    """Files that were created.

    Parameters
    ----------
    site, request : Path
        The ``site.toml``, and the request to send.
    fingerprint : str
        Fingerprint of the key, to be read out to the server's operator.
    """

    site: Path
    request: Path
    fingerprint: str


def set_up_site(folder: Path, name: str, data: str, *, new_key: bool = False) -> SiteFiles:
    """Create a site's files, or those that are missing.

    Parameters
    ----------
    folder : Path
        Folder of the site.
    name : str
        Name of the site.
    data : str
        Folder of the images, relative to `folder`; used when there is no site.toml yet.
    new_key : bool
        Move the key aside and create another: one that was revoked, expired or lost cannot be enrolled again.

    Raises
    ------
    ConfigError
        When the folder holds the site.toml of another site, or one with problems.
    RunError
        ``DISK-FULL`` or ``RUN-FOLDER`` when the folder cannot be written.
    """
    path = folder / "site.toml"
    with translate_disk_errors(f"the site in {folder}", "give the same command again"):
        if not path.exists():
            init_site(folder, name, data)
    site = read_site(path)
    if site.name != name:
        fix = f"Use that name, or name another folder for {name} with '--folder'."
        raise ConfigError([Problem("site.toml", "name", f"this is the folder of the site {site.name!r}.", fix)])
    key = folder / (site.federation.key if site.federation else "site.key")
    with translate_disk_errors("the key of the site", "give the same command again"):
        ensure_secret(folder / site.secret_file)
        if new_key and key.exists():
            key.replace(key.with_name(f"{key.name}.old"))
        make_key(key)
        request = write_request(key, name, folder / f"{name}.request.json")
    return SiteFiles(path, folder / f"{name}.request.json", request.fingerprint)
