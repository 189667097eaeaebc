"""Registry of the sites of a federation: one JSON file for each on the server's disk, with its key and its dates."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from cryptography.hazmat.primitives.serialization import Encoding

from medfl.deploy import ca
from medfl.deploy.deeds import note_at_server
from medfl.deploy.federation_folder import FederationFolder
from medfl.deploy.identity import EnrolmentRequest, key_fingerprint
from medfl.errors import DeployError
from medfl.site import SITE_NAME_PATTERN
from medfl.system.files import translate_disk_errors, write_file
from medfl.system.locks import locked

SiteState = Literal["valid", "expiring", "expired", "revoked"]


@dataclass(frozen=True)
class EnrolledSite:
    """A site that was enrolled.

    Parameters
    ----------
    name : str
        Name of the site.
    public_key : str
        OpenSSH format.
    enrolled, expires : str
        ISO times, UTC.
    revoked : str
        ISO time when it was revoked, empty when it was not.
    serials : tuple of int
        Serial numbers of all certificates that it was given for this key, the newest last.
    warn_days : int
        Number of days before it expires during which it counts as expiring.
    former_keys : tuple of str
        Earlier keys of a site of this name.
    withdrawn : tuple of int
        Serial numbers of the certificates for those keys.
    """

    name: str
    public_key: str
    enrolled: str
    expires: str
    revoked: str = ""
    serials: tuple[int, ...] = ()
    warn_days: int = 30
    former_keys: tuple[str, ...] = ()
    withdrawn: tuple[int, ...] = ()

    def state(self, now: datetime | None = None) -> SiteState:
        """Return the state of the site; it may take part while "valid" or "expiring"."""
        now = now or datetime.now(UTC)
        if self.revoked:
            return "revoked"
        end = datetime.fromisoformat(self.expires)
        return "expired" if now >= end else "expiring" if now >= end - timedelta(days=self.warn_days) else "valid"

    @property
    def fingerprint(self) -> str:
        """Fingerprint of its key."""
        return key_fingerprint(self.public_key)


def list_enrolled(folder: FederationFolder) -> tuple[EnrolledSite, ...]:
    """Return every site that was ever enrolled, sorted by name.

    Raises
    ------
    DeployError
        ``REGISTRY-DAMAGED`` when a file cannot be read: that site could have been revoked.
    """
    return tuple(_read_site(folder, path.stem) for path in sorted(folder.sites.glob("*.json")))


def enrol(folder: FederationFolder, request: EnrolmentRequest) -> tuple[EnrolledSite, bytes]:
    """Enrol a site, or enrol one again with a new key that was revoked, has expired or lost its key.

    Parameters
    ----------
    folder : FederationFolder
        Folder of the server.
    request : EnrolmentRequest
        Request as `medfl.deploy.identity.read_request` checked it.

    Returns
    -------
    EnrolledSite
        Its entry in the registry.
    bytes
        Its certificate, PEM.

    Raises
    ------
    DeployError
        ``SITE-ENROLLED`` when a site of that name already takes part, ``NAME-ALIKE`` when names differ in capital letters
        only, ``KEY-USED`` when the key was enrolled before.
    """
    with _registry_lock(folder):
        old = _require_enrollable(folder, request)
        now = datetime.now(UTC)
        site = EnrolledSite(request.name, request.public_key, now.isoformat(timespec="seconds"), "")
        if old is not None:
            former, withdrawn = (*old.former_keys, old.public_key), (*old.withdrawn, *old.serials)
            site = replace(site, former_keys=former, withdrawn=withdrawn)
        note_at_server(folder, "enrolled", site.name, site.fingerprint)  # first: what cannot be noted is not done
        enrolled = _issue_certificate(folder, site)
        update_crl(folder, list_enrolled(folder))
    return enrolled


def _require_enrollable(folder: FederationFolder, request: EnrolmentRequest) -> EnrolledSite | None:
    """Return the earlier entry of the site, if any, after checking that it may be enrolled now."""
    registered = {site.name: site for site in list_enrolled(folder)}
    old = registered.get(request.name)
    if old is not None and old.state() in ("valid", "expiring"):
        fix = "Renew it with 'medfl server renew', or revoke it first; if it is another hospital, it needs another name."
        raise DeployError("SITE-ENROLLED", f"{request.name} is already enrolled.", fix)
    if any(request.public_key in (site.public_key, *site.former_keys) for site in registered.values()):
        fix = "Let the site make a new one: medfl site init --new-key."
        raise DeployError("KEY-USED", "this key was enrolled before, and Flower never accepts a key again.", fix)
    alike = [name for name in registered if name != request.name and name.lower() == request.name.lower()]
    if alike:
        fix = "Give one of them another name, in a new folder made with 'medfl site init'."
        raise DeployError(
            "NAME-ALIKE", f"{request.name} differs only in capital letters from {alike[0]}, which is enrolled.", fix
        )
    return old


def renew(folder: FederationFolder, name: str) -> tuple[EnrolledSite, bytes]:
    """Extend the time that a site is enrolled, with a new certificate for the key that it has.

    Raises
    ------
    DeployError
        ``SITE-UNKNOWN``, or ``SITE-ENDED`` when it was revoked or has expired: then its key cannot be used again.
    """
    with _registry_lock(folder):
        site = _read_site(folder, name)
        if site.state() not in ("valid", "expiring"):
            fix = "It needs a new key: 'medfl site init --new-key' there, and 'medfl server enrol' with the new request."
            raise DeployError("SITE-ENDED", f"{name} is {site.state()}, and Flower never accepts a key again.", fix)
        note_at_server(folder, "renewed", name, site.fingerprint)
        return _issue_certificate(folder, site)


def revoke(folder: FederationFolder, name: str) -> EnrolledSite:
    """Revoke a site; a running server refuses its requests within half a minute.

    Raises
    ------
    DeployError
        ``SITE-UNKNOWN``, or ``CA-MISSING`` when the list for nginx could not be written; the site is revoked nonetheless.
    """
    with _registry_lock(folder):
        site = _read_site(folder, name)
        if not site.revoked:
            site = replace(site, revoked=datetime.now(UTC).isoformat(timespec="seconds"))
            _write_site(folder, site)
        try:
            update_crl(folder, list_enrolled(folder))
        except DeployError as error:
            what = f"{name} is revoked, but its certificate could not be added to the list that nginx reads: {error.what}"
            raise DeployError(error.code, what, f"{error.fix} Then give this command again.") from None
        note_at_server(folder, "revoked", site.name, site.fingerprint)  # last: nothing may hold it up
    return site


def update_crl(folder: FederationFolder, sites: Sequence[EnrolledSite]) -> None:
    """Write the list that nginx reads: certificates of revoked sites, and those for former keys."""
    revoked = [(serial, datetime.fromisoformat(site.revoked)) for site in sites if site.revoked for serial in site.serials]
    revoked += [(serial, datetime.fromisoformat(site.enrolled)) for site in sites for serial in site.withdrawn]
    ca.write_crl(folder.ca_certificate, folder.ca_key, folder.crl, revoked)


@contextmanager
def _registry_lock(folder: FederationFolder) -> Iterator[None]:
    """Let only one command at a time change the registry."""
    with translate_disk_errors("the list of sites", "give the same command again"), locked(folder.sites / ".lock"):
        yield


def _issue_certificate(folder: FederationFolder, site: EnrolledSite) -> tuple[EnrolledSite, bytes]:
    settings = folder.settings.identities
    signed = ca.issue_site_certificate(folder.ca_certificate, folder.ca_key, site.name, site.public_key, settings.days)
    expires = signed.not_valid_after_utc.isoformat(timespec="seconds")
    renewed = replace(site, expires=expires, serials=(*site.serials, signed.serial_number), warn_days=settings.warn_days)
    _write_site(folder, renewed)
    return renewed, signed.public_bytes(Encoding.PEM)


def _read_site(folder: FederationFolder, name: str) -> EnrolledSite:
    try:
        if not re.fullmatch(SITE_NAME_PATTERN, name):
            raise FileNotFoundError
        values: dict[str, Any] = json.loads((folder.sites / f"{name}.json").read_bytes())
        for key in ("serials", "former_keys", "withdrawn"):
            values[key] = tuple(values[key])
        site = EnrolledSite(**values)
        times = [datetime.fromisoformat(text).tzinfo for text in (site.enrolled, site.expires, site.revoked) if text]
        if site.name != name or None in times:
            raise ValueError("not the entry of this site")
    except FileNotFoundError:
        raise DeployError(
            "SITE-UNKNOWN", f"no site {name!r} is enrolled.", "List those that are: medfl server sites."
        ) from None
    except (ValueError, TypeError, KeyError, OSError):
        fix = "Restore the folder 'sites' of the federation from a copy."
        raise DeployError("REGISTRY-DAMAGED", f"the entry of site {name!r} in the registry cannot be read.", fix) from None
    return site


def _write_site(folder: FederationFolder, site: EnrolledSite) -> None:
    write_file(folder.sites / f"{site.name}.json", json.dumps(asdict(site), indent=1).encode(), private=True)
