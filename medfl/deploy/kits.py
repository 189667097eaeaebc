"""Startup kits: what a hospital gets from the server's operator to join, and how it is unpacked there."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tomlkit
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key
from pydantic import Field
from tomlkit.exceptions import TOMLKitError

from medfl.deploy.ca import ca_fingerprint
from medfl.deploy.federation_folder import FederationFolder
from medfl.deploy.identity import load_key
from medfl.deploy.settings import Address, FederationName
from medfl.deploy.site_registry import EnrolledSite
from medfl.errors import ConfigError, DeployError
from medfl.schema import Section, read_section
from medfl.site import SITE_NAME_PATTERN, Site, init_site, read_site
from medfl.site.federation_settings import SiteFederation
from medfl.system.files import translate_disk_errors, write_file, write_private

_FILES = ("ca.crt", "site.crt", "federation.json", "README.txt")
_KEY_FILE = "site.key"  # only when the server's operator made the key
_MAX_BYTES = 100_000  # bytes, of each file and of the whole kit
_ZIP_TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # the same kit has the same bytes

_README = """\
Startup kit of {site} for the federation {federation}. {secrecy}
1. medfl site join {site}.zip --folder FOLDER      (the folder of your site.toml and site.key)
2. medfl doctor FOLDER                             (what is wrong, and what to do about it)
3. medfl site approve STUDY.fab --site FOLDER      (read what a study will do; approve it or not)
4. medfl site up FOLDER                            (or as a service: medfl site unit FOLDER)
5. The server is {address}; your firewall must let you connect to it. You are enrolled until {expires}.
"""
_WITHOUT_KEY_NOTE = "It holds nothing secret."
_WITH_KEY_NOTE = "It holds your PRIVATE KEY: delete it once you have joined."


class KitManifest(Section):
    """Contents of ``federation.json`` in a kit: its site, its federation, the server's address, and the day it expires."""

    site: Annotated[str, Field(pattern=SITE_NAME_PATTERN, description="the name of a site")]
    federation: FederationName
    address: Address
    expires: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$", description='a day, as "2026-01-31"')]


@dataclass(frozen=True)
class Kit:
    """A kit that was read and checked.

    Parameters
    ----------
    manifest : KitManifest
        Its ``federation.json``.
    ca, certificate : bytes
        Certificates of the authority and of the site, PEM.
    key : bytes
        Private key of the site when the server's operator made it; empty when the site made its own.
    """

    manifest: KitManifest
    ca: bytes
    certificate: bytes
    key: bytes = b""

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the authority, which two people compare by telephone."""
        return ca_fingerprint(self.ca)


def write_kit(folder: FederationFolder, site: EnrolledSite, certificate: bytes, key: bytes = b"") -> Path:
    """Write the kit of a site.

    Parameters
    ----------
    folder : FederationFolder
        Folder of the server.
    site : EnrolledSite
        The site that it is for.
    certificate : bytes
        Certificate of the site, PEM, as `enrol` or `renew` returned it.
    key : bytes
        Private key of the site when `make_identity` made it.

    Returns
    -------
    Path
        ``kits/<name>.zip``; it holds nothing secret unless there is a key in it, and then only its owner may read it.
    """
    settings = folder.settings
    manifest = {"site": site.name, "federation": settings.name, "address": settings.address, "expires": site.expires[:10]}
    content = {
        "ca.crt": folder.ca_certificate.read_bytes(),
        "site.crt": certificate,
        "federation.json": json.dumps(manifest, indent=1).encode(),
        "README.txt": _README.format(**manifest, secrecy=_WITH_KEY_NOTE if key else _WITHOUT_KEY_NOTE).encode(),
    } | ({_KEY_FILE: key} if key else {})
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as kit:
        for name, data in content.items():
            entry = zipfile.ZipInfo(name, _ZIP_TIMESTAMP)
            entry.external_attr = (0o100600 if name == _KEY_FILE else 0o100644) << 16
            kit.writestr(entry, data, zipfile.ZIP_DEFLATED)
    path = folder.kits / f"{site.name}.zip"
    write_file(path, archive.getvalue(), private=bool(key))
    return path


def read_kit(path: Path) -> Kit:
    """Read and check a kit in memory; files that do not belong to a kit are ignored.

    Raises
    ------
    DeployError
        ``KIT-DAMAGED``.
    """
    if not path.is_file():
        raise DeployError(
            "KIT-DAMAGED", f"there is no file {str(path)!r}.", "Give the path of the kit that the server's operator sent you."
        )
    try:
        content = _read_entries(path)
        manifest = read_section(KitManifest, json.loads(content["federation.json"]), "federation.json")
        ca, certificate = (x509.load_pem_x509_certificate(content[name]) for name in ("ca.crt", "site.crt"))
        certificate.verify_directly_issued_by(ca)
        key = content.get(_KEY_FILE, b"")
        if key and _public_key_bytes(load_ssh_private_key(key, None).public_key()) != _public_key_bytes(
            certificate.public_key()
        ):
            raise ValueError("another key")
    except (OSError, ValueError, KeyError, TypeError, RecursionError, EOFError, NotImplementedError):
        raise _damaged_error(path) from None
    except (zipfile.BadZipFile, zlib.error, InvalidSignature, UnsupportedAlgorithm, ConfigError):
        raise _damaged_error(path) from None
    return Kit(manifest, content["ca.crt"], content["site.crt"], key)


def join_federation(kit: Kit, folder: Path) -> Path:
    """Make a site part of a federation: its certificates, and the table ``[federation]`` of its site.toml.

    Parameters
    ----------
    kit : Kit
        Kit as `read_kit` returned it.
    folder : Path
        Folder of the site. Without a site.toml it gets one to edit.

    Returns
    -------
    Path
        The ``site.toml``; everything else in it, comments too, is left as it is.

    Raises
    ------
    DeployError
        ``KIT-FOREIGN`` when the kit was made for another site or another key, ``OTHER-FEDERATION`` when the site belongs to
        another federation. Nothing was changed then.
    ConfigError
        When the site.toml has problems.
    """
    path = folder / "site.toml"
    site = read_site(path) if path.exists() else None
    federation = site.federation if site and site.federation else SiteFederation(server=kit.manifest.address)
    _require_same_site(kit, site, folder / federation.key)
    _require_same_authority(kit, folder / federation.ca)
    if site is None:
        init_site(folder, kit.manifest.site, ".")
    with translate_disk_errors("the site's place in the federation", "give the same command again"):
        if kit.key and not (folder / federation.key).exists():
            write_private(folder / federation.key, kit.key, "the key of the site")
        write_file(folder / federation.ca, kit.ca)
        write_file(folder / federation.certificate, kit.certificate)
        text = _set_federation_server(path.read_text(encoding="utf-8"), kit.manifest.address)
        write_file(path, text.encode(), private=not path.stat().st_mode & 0o077)
    return path


def _read_entries(path: Path) -> dict[str, bytes]:
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError("too large")
    with zipfile.ZipFile(path) as kit:
        entries = {entry.filename: entry for entry in kit.infolist() if entry.filename in (*_FILES, _KEY_FILE)}
        for entry in entries.values():
            if entry.file_size > _MAX_BYTES or entry.flag_bits & 1 or entry.compress_type != zipfile.ZIP_DEFLATED:
                raise ValueError("too large, encrypted, or packed in another way")
        return {name: kit.read(entries[name]) for name in (*_FILES, *([_KEY_FILE] if _KEY_FILE in entries else []))}


def _require_same_site(kit: Kit, site: Site | None, key: Path) -> None:
    if site is not None and site.name != kit.manifest.site:
        fix = "Use the kit that was made for this site, or the folder of the other one."
        raise DeployError("KIT-FOREIGN", f"the kit is for {kit.manifest.site}, and this is the folder of {site.name}.", fix)
    if kit.key and not key.exists():
        return
    signed = x509.load_pem_x509_certificate(kit.certificate).public_key()
    if _public_key_bytes(signed) != _public_key_bytes(load_key(key).public_key()):
        fix = "Send the request that was made with this key, or restore the key that the kit was made for."
        raise DeployError("KIT-FOREIGN", "the kit was made for a different key than the one in this folder.", fix)


def _require_same_authority(kit: Kit, ca: Path) -> None:
    try:
        known = x509.load_pem_x509_certificate(ca.read_bytes()).public_key()
    except FileNotFoundError:
        return
    except (OSError, ValueError):
        known = None
    if known is None or _public_key_bytes(known) != _public_key_bytes(x509.load_pem_x509_certificate(kit.ca).public_key()):
        fix = f"To leave that federation, move {ca.name} away, check 'medfl site approvals', and give this command again."
        raise DeployError("OTHER-FEDERATION", "this site belongs to a federation with another authority.", fix)


def _public_key_bytes(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _damaged_error(path: Path) -> DeployError:
    return DeployError(
        "KIT-DAMAGED", f"{path.name} is not a startup kit, or is damaged.", "Ask the server's operator for it again."
    )


def _set_federation_server(text: str, address: str) -> str:
    try:
        document = tomlkit.parse(text)
        table = document.get("federation")
        if table is None:
            document["federation"] = table = tomlkit.table()
        table["server"] = address
    except TOMLKitError:
        raise DeployError(
            "SITE-TOML", "the site.toml cannot be edited by medfl.", f'Add to it: [federation] server = "{address}"'
        ) from None
    return tomlkit.dumps(document)
