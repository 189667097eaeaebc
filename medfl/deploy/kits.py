"""Startup kits: what a hospital gets from the server's operator, and how it is unpacked there."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import tomlkit
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tomlkit.exceptions import TOMLKitError

from medfl.deploy.folder import FederationFolder
from medfl.deploy.identity import load_key
from medfl.deploy.registry import Enrolled
from medfl.errors import DeployError
from medfl.runs.durable import write_file
from medfl.site import init_site, read_site

_FILES = ("ca.crt", "site.crt", "federation.json", "README.txt")
_MOST = 100_000  # bytes of each
_WHEN = (1980, 1, 1, 0, 0, 0)  # the same kit has the same bytes

_README = """\
Startup kit of {site} for the federation {federation}. It holds nothing secret.
1. medfl site join {site}.zip --folder FOLDER      (the folder of your site.toml and site.key)
2. medfl doctor FOLDER                             (what is wrong, and the way out)
3. medfl site approve STUDY.fab --site FOLDER      (read what a study will do; approve it or not)
4. medfl site up FOLDER                            (or as a service: medfl site unit FOLDER)
5. The server is {address}; your way out to it must be open. You belong until {expires}.
"""


@dataclass(frozen=True)
class Kit:
    """A kit that was read and checked.

    Parameters
    ----------
    site, federation, address : str
        Who it is for, whose it is, and where the server is.
    ca, certificate : bytes
        PEM: of the authority, and of the site.
    """

    site: str
    federation: str
    address: str
    ca: bytes
    certificate: bytes


def write_kit(folder: FederationFolder, site: Enrolled, certificate: bytes) -> Path:
    """Write the kit of a site.

    Parameters
    ----------
    folder : FederationFolder
        Of the server.
    site : Enrolled
        Whom it is for.
    certificate : bytes
        PEM, as `enrol` or `renew` returned it.

    Returns
    -------
    Path
        ``kits/<name>.zip``; it holds nothing secret.
    """
    settings = folder.settings
    words = {"site": site.name, "federation": settings.name, "address": settings.address, "expires": site.expires[:10]}
    content = {
        "ca.crt": folder.ca_certificate.read_bytes(),
        "site.crt": certificate,
        "federation.json": json.dumps(words, indent=1).encode(),
        "README.txt": _README.format(**words).encode(),
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as kit:
        for name, data in content.items():
            kit.writestr(zipfile.ZipInfo(name, _WHEN), data)
    path = folder.kits / f"{site.name}.zip"
    write_file(path, packed.getvalue())
    return path


def read_kit(path: Path) -> Kit:
    """Read a kit; nothing is unpacked, and nothing but the files of a kit is looked at.

    Raises
    ------
    DeployError
        ``KIT-DAMAGED``.
    """
    try:
        with zipfile.ZipFile(path) as kit:
            if any(kit.getinfo(name).file_size > _MOST for name in _FILES):
                raise ValueError("too large")
            content = {name: kit.read(name) for name in _FILES}
        words = json.loads(content["federation.json"])
        x509.load_pem_x509_certificate(content["ca.crt"])
        x509.load_pem_x509_certificate(content["site.crt"])
        names = (str(words["site"]), str(words["federation"]), str(words["address"]))
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        fix = "Ask the server's operator for it again."
        raise DeployError("KIT-DAMAGED", f"{path.name} is no startup kit, or is damaged.", fix) from None
    return Kit(*names, content["ca.crt"], content["site.crt"])


def join(kit: Kit, folder: Path) -> Path:
    """Make a site part of a federation: its certificates, and the table ``[federation]`` of its site.toml.

    Parameters
    ----------
    kit : Kit
        As `read_kit` gave it.
    folder : Path
        Of the site. A folder with the key but without a site.toml gets one to edit.

    Returns
    -------
    Path
        The ``site.toml``; whatever else stands in it, comments too, is left as it is.

    Raises
    ------
    DeployError
        ``KIT-FOREIGN`` when it was made for another site or another key.
    ConfigError
        When the site.toml has problems.
    """
    path = folder / "site.toml"
    if not path.exists():
        init_site(folder, kit.site, ".")
    site = read_site(path)
    if site.name != kit.site:
        fix = "Take the kit that was made for this one, or the folder of that site."
        raise DeployError("KIT-FOREIGN", f"the kit is for {kit.site}, and this is the folder of {site.name}.", fix)
    key = folder / (site.federation.key if site.federation else "site.key")
    own = load_key(key).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    signed = x509.load_pem_x509_certificate(kit.certificate).public_key()
    if signed.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != own:
        fix = "Send the request that was made with this key, or put back the key that the kit was made for."
        raise DeployError("KIT-FOREIGN", "the kit was made for another key than the one in this folder.", fix)
    write_file(folder / "ca.crt", kit.ca)
    write_file(folder / "site.crt", kit.certificate)
    write_file(path, _with_federation(path.read_text(encoding="utf-8"), kit.address).encode())
    return path


def _with_federation(text: str, address: str) -> str:
    try:
        document = tomlkit.parse(text)
        table = document.get("federation")
        if table is None:
            document["federation"] = table = tomlkit.table()
        table["server"] = address
    except TOMLKitError:
        raise DeployError(
            "SITE-TOML", "the site.toml can not be changed.", f'Add to it: [federation] server = "{address}"'
        ) from None
    return tomlkit.dumps(document)
