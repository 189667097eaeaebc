"""Who belongs to a federation, since when, until when: one JSON file for each site on the server's disk."""

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
        Of the site.
    public_key : str
        OpenSSH format.
    enrolled, expires : str
        ISO times, UTC.
    revoked : str
        ISO time when it was put out, empty when it was not.
    serials : tuple of int
        Serial numbers of all certificates that it was given for this key, the newest last.
    warn_days : int
        Days before the end in which it counts as expiring.
    former_keys : tuple of str
        Keys that a site of this name had before.
    withdrawn : tuple of int
        Serial numbers of the certificates over those.
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
        """Say whether the site may take part: "valid" and "expiring" may."""
        now = now or datetime.now(UTC)
        if self.revoked:
            return "revoked"
        end = datetime.fromisoformat(self.expires)
        return "expired" if now >= end else "expiring" if now >= end - timedelta(days=self.warn_days) else "valid"

    @property
    def fingerprint(self) -> str:
        """Of its key."""
        return key_fingerprint(self.public_key)


def list_enrolled(folder: FederationFolder) -> tuple[EnrolledSite, ...]:
    """Return every site that was ever enrolled, by name.

    Raises
    ------
    DeployError
        ``REGISTRY-DAMAGED`` when a file cannot be read: it could be one that was revoked.
    """
    return tuple(_read_site(folder, path.stem) for path in sorted(folder.sites.glob("*.json")))


def enrol(folder: FederationFolder, request: EnrolmentRequest) -> tuple[EnrolledSite, bytes]:
    """Take a site in, or give one that was revoked, expired or lost its key a new start with a new key.

    Parameters
    ----------
    folder : FederationFolder
        Of the server.
    request : EnrolmentRequest
        As `medfl.deploy.identity.read_request` checked it.

    Returns
    -------
    EnrolledSite
        What is noted of it.
    bytes
        Its certificate, PEM.

    Raises
    ------
    DeployError
        ``SITE-ENROLLED`` when a site of that name takes part already, ``NAME-ALIKE`` when one is called the same but for
        capital letters, ``KEY-USED`` when the key was used before.
    """
    with _registry_lock(folder):
        old = _require_enrollable(folder, request)
        now = datetime.now(UTC)
        site = EnrolledSite(request.name, request.public_key, now.isoformat(timespec="seconds"), "")
        if old is not None:
            former, withdrawn = (*old.former_keys, old.public_key), (*old.withdrawn, *old.serials)
            site = replace(site, former_keys=former, withdrawn=withdrawn)
        taken = _issue_certificate(folder, site)
        update_crl(folder, list_enrolled(folder))
    return taken


def _require_enrollable(folder: FederationFolder, request: EnrolmentRequest) -> EnrolledSite | None:
    """Return what the site was before, after checking that it may be enrolled now."""
    before = {site.name: site for site in list_enrolled(folder)}
    old = before.get(request.name)
    if old is not None and old.state() in ("valid", "expiring"):
        fix = "Renew it with 'medfl server renew', or revoke it first; if it is another hospital, it needs another name."
        raise DeployError("SITE-ENROLLED", f"{request.name} is enrolled already.", fix)
    if any(request.public_key in (site.public_key, *site.former_keys) for site in before.values()):
        fix = "Let the site make a new one: medfl site init --new-key."
        raise DeployError("KEY-USED", "this key was enrolled before, and Flower never takes a key again.", fix)
    alike = [name for name in before if name != request.name and name.lower() == request.name.lower()]
    if alike:
        fix = "Give one of them a name that nobody confuses with the other: a new folder with 'medfl site init'."
        raise DeployError("NAME-ALIKE", f"{request.name} is too much like {alike[0]}, which is enrolled.", fix)
    return old


def renew(folder: FederationFolder, name: str) -> tuple[EnrolledSite, bytes]:
    """Let a site belong for another while, with a new certificate over the key that it has.

    Raises
    ------
    DeployError
        ``SITE-UNKNOWN``, or ``SITE-ENDED`` when it was revoked or its time is over: then its key is used up.
    """
    with _registry_lock(folder):
        site = _read_site(folder, name)
        if site.state() not in ("valid", "expiring"):
            fix = "It needs a new key: 'medfl site init --new-key' there, and 'medfl server enrol' with the new request."
            raise DeployError("SITE-ENDED", f"{name} is {site.state()}, and Flower never takes a key again.", fix)
        return _issue_certificate(folder, site)


def revoke(folder: FederationFolder, name: str) -> EnrolledSite:
    """Put a site out; a server that runs refuses its requests within half a minute.

    Raises
    ------
    DeployError
        ``SITE-UNKNOWN``, or ``CA-MISSING`` when nginx could not be told; the site is out nonetheless.
    """
    with _registry_lock(folder):
        site = _read_site(folder, name)
        if not site.revoked:
            site = replace(site, revoked=datetime.now(UTC).isoformat(timespec="seconds"))
            _write_site(folder, site)
        try:
            update_crl(folder, list_enrolled(folder))
        except DeployError as error:
            what = f"{name} is out, but its certificate could not be put onto the list that nginx reads: {error.what}"
            raise DeployError(error.code, what, f"{error.fix} Then give this command again.") from None
    return site


def update_crl(folder: FederationFolder, sites: Sequence[EnrolledSite]) -> None:
    """Write the list that nginx reads: certificates of sites that were revoked, and of keys that were given up."""
    out = [(serial, datetime.fromisoformat(site.revoked)) for site in sites if site.revoked for serial in site.serials]
    out += [(serial, datetime.fromisoformat(site.enrolled)) for site in sites for serial in site.withdrawn]
    ca.write_crl(folder.ca_certificate, folder.ca_key, folder.crl, out)


@contextmanager
def _registry_lock(folder: FederationFolder) -> Iterator[None]:
    """Let one command after the other change who belongs."""
    with translate_disk_errors("the list of sites", "give the same command again"), locked(folder.sites / ".lock"):
        yield


def _issue_certificate(folder: FederationFolder, site: EnrolledSite) -> tuple[EnrolledSite, bytes]:
    terms = folder.settings.identities
    signed = ca.issue_site_certificate(folder.ca_certificate, folder.ca_key, site.name, site.public_key, terms.days)
    expires = signed.not_valid_after_utc.isoformat(timespec="seconds")
    noted = replace(site, expires=expires, serials=(*site.serials, signed.serial_number), warn_days=terms.warn_days)
    _write_site(folder, noted)
    return noted, signed.public_bytes(Encoding.PEM)


def _read_site(folder: FederationFolder, name: str) -> EnrolledSite:
    try:
        if not re.fullmatch(SITE_NAME_PATTERN, name):
            raise FileNotFoundError
        told: dict[str, Any] = json.loads((folder.sites / f"{name}.json").read_bytes())
        for key in ("serials", "former_keys", "withdrawn"):
            told[key] = tuple(told[key])
        site = EnrolledSite(**told)
        times = [datetime.fromisoformat(text).tzinfo for text in (site.enrolled, site.expires, site.revoked) if text]
        if site.name != name or None in times:
            raise ValueError("not what was written for this site")
    except FileNotFoundError:
        raise DeployError("SITE-UNKNOWN", f"no site {name!r} is enrolled.", "See who is: medfl server sites.") from None
    except (ValueError, TypeError, KeyError, OSError):
        fix = "Put back a copy of the folder 'sites' of the federation."
        raise DeployError("REGISTRY-DAMAGED", f"what is noted of site {name!r} cannot be read.", fix) from None
    return site


def _write_site(folder: FederationFolder, site: EnrolledSite) -> None:
    write_file(folder.sites / f"{site.name}.json", json.dumps(asdict(site), indent=1).encode(), private=True)
