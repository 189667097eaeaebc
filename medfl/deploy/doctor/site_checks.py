"""What is checked of a site: files and keys, data, approved studies, the log of exchanges, the way to the server."""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

from medfl.audit.verify import find_breaks
from medfl.deploy.approvals import approved_studies
from medfl.deploy.doctor.certificate_checks import check_certificate
from medfl.deploy.doctor.check_result import CheckResult
from medfl.deploy.doctor.connection_checks import check_connection
from medfl.deploy.doctor.machine_checks import check_machine
from medfl.deploy.identity import private_key_pem
from medfl.errors import AuditError, ConfigError, DataError, MedflError
from medfl.site import Site, read_site
from medfl.site.federation_settings import SiteFederation
from medfl.system.files import write_private


def check_site(folder: Path) -> Iterator[CheckResult]:
    """Check everything that a site needs to take part in a study.

    Parameters
    ----------
    folder : Path
        With the ``site.toml``.
    """
    try:
        site = read_site(folder)
    except ConfigError as error:
        yield CheckResult("SITE-TOML", "error", f"site.toml has problems: {error}", "Mend the lines that are named.")
        return
    yield CheckResult("SITE-TOML", "ok", f"The site.toml of {site.name} can be read.")
    yield from check_site_files(site)
    yield check_data(site)
    yield from check_machine(site.folder, trains=True)
    if site.federation is not None:
        yield check_approvals(site)
        yield check_audit_log(site, site.federation)
        yield from _check_way_to_server(site, site.federation)


def _check_way_to_server(site: Site, federation: SiteFederation) -> Iterator[CheckResult]:
    """Look at the server as the site itself does, with its certificate where it has one that can be used."""
    ca, certificate = site.folder / federation.ca, site.folder / federation.certificate
    with tempfile.TemporaryDirectory() as place:
        key = Path(place) / "tls.key"
        with suppress(MedflError):
            write_private(key, private_key_pem(site.folder / federation.key), "the key")
        if key.exists() and certificate.is_file():
            yield from check_connection(federation.server, ca, certificate, key)
        else:
            yield from check_connection(federation.server, ca)


def check_site_files(site: Site) -> Iterator[CheckResult]:
    """Check the files that a site cannot start without: secret, key and certificates."""
    yield _check_secret(site)
    if site.federation is None:
        fix = "Unpack the kit that the server's operator gave you: medfl site join KIT.zip."
        yield CheckResult("FEDERATION", "error", "site.toml has no table [federation].", fix)
        return
    federation, here = site.federation, site.folder
    yield _check_private_file(here / federation.key)
    name = "the authority's certificate, which tells the true server from a false one,"
    yield check_certificate(here / federation.ca, name, "Unpack the kit again.")
    if (here / federation.certificate).exists():
        fix = "Ask the server's operator for a renewed kit: medfl server renew SITE."
        yield check_certificate(here / federation.certificate, "the certificate of this site", fix)
        yield _check_key_pair(here / federation.key, here / federation.certificate)


def check_data(site: Site) -> CheckResult:
    """Check that the folder of the images can be listed; whether they fit a study is told by `medfl data check`."""
    try:
        some = next(site.root.iterdir(), None)
    except OSError:
        fix = "Check 'data.root' in site.toml, and that the account that runs medfl may read it."
        return CheckResult("DATA", "error", "The folder of the images cannot be read.", fix)
    if some is None:
        return CheckResult(
            "DATA", "error", "The folder of the images is empty.", "Is the disk mounted? See 'data.root' in site.toml."
        )
    return CheckResult("DATA", "ok", "The folder of the images can be read. Whether they fit: medfl data check SITE STUDY.")


def check_approvals(site: Site) -> CheckResult:
    """Tell which studies are approved."""
    try:
        names = sorted(approval.name for approval in approved_studies(site))
    except MedflError as error:
        return CheckResult("APPROVED", "error", error.what, error.fix)
    if not names:
        return CheckResult("APPROVED", "warning", "No study is approved, so none will run.", "medfl site approve STUDY.fab")
    return CheckResult("APPROVED", "ok", f"Approved: {', '.join(names)}.")


def check_audit_log(site: Site, federation: SiteFederation) -> CheckResult:
    """Verify the site's own log of exchanges."""
    path = site.folder / federation.audit
    if not path.exists():
        return CheckResult("AUDIT", "ok", "The log of exchanges is empty so far.")
    try:
        broken = find_breaks([path])
    except AuditError as error:
        return CheckResult("AUDIT", "error", error.what, error.fix)
    if broken:
        fix = "Keep the file as it is, and look for who could write to it: medfl audit verify."
        return CheckResult("AUDIT", "error", "The log of exchanges is not what was written.", fix)
    return CheckResult("AUDIT", "ok", "The log of exchanges is whole.")


def _check_secret(site: Site) -> CheckResult:
    try:
        site.secret()
    except DataError as error:
        return CheckResult("SECRET", "error", error.what, error.fix)
    return _check_private_file(site.folder / site.secret_file)


def _check_private_file(path: Path) -> CheckResult:
    """Check that a secret file is there and for its owner alone."""
    try:
        mode = path.stat().st_mode
    except OSError:
        fix = "Put back its copy. Without one: medfl site init, and a new request to the server's operator."
        return CheckResult("KEY", "error", f"{path.name} is not there.", fix)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        return CheckResult(
            "KEY", "error", f"Others than its owner may read {path.name}.", f"chmod 600 {path.name}, or take a new one."
        )
    return CheckResult("KEY", "ok", f"{path.name} is there, for its owner alone.")


def _check_key_pair(key: Path, crt: Path) -> CheckResult:
    def bits(public: object) -> bytes:
        return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined, no-any-return]

    try:
        private = load_ssh_private_key(key.read_bytes(), None)
        same = bits(private.public_key()) == bits(x509.load_pem_x509_certificate(crt.read_bytes()).public_key())
    except (OSError, ValueError):
        same = False
    if not same:
        return CheckResult(
            "KEY", "error", "The certificate does not belong to the key.", "Unpack the kit that was made for this key."
        )
    return CheckResult("KEY", "ok", "Key and certificate belong together.")
