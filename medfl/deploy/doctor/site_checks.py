"""Checks of a site: files and keys, data, approved studies, its log and its ledger, the connection to the server."""

from __future__ import annotations

import shlex
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

from medfl.audit.verify import verify_logs
from medfl.deploy.approvals import approved_studies
from medfl.deploy.doctor.certificate_checks import check_certificate
from medfl.deploy.doctor.check_result import CheckResult
from medfl.deploy.doctor.command_checks import check_command
from medfl.deploy.doctor.connection_checks import check_connection
from medfl.deploy.doctor.machine_checks import check_machine
from medfl.deploy.doctor.presence_checks import check_presence
from medfl.deploy.forgotten_runs import find_forgotten
from medfl.deploy.identity import private_key_pem
from medfl.errors import AuditError, ConfigError, DataError, MedflError
from medfl.privacy.ledger import Ledger, ledger_folder
from medfl.site import Site, read_site
from medfl.site.federation_settings import SiteFederation
from medfl.system.files import write_private
from medfl.system.text import plural


def check_site(folder: Path) -> Iterator[CheckResult]:
    """Check everything that a site needs to take part in a study.

    Parameters
    ----------
    folder : Path
        Folder with the ``site.toml``.
    """
    try:
        site = read_site(folder)
    except ConfigError as error:
        yield CheckResult("SITE-TOML", "error", f"site.toml has problems: {error}", "Correct the entries that are named.")
        return
    yield CheckResult("SITE-TOML", "ok", f"The site.toml of {site.name} can be read.")
    yield from check_site_files(site)
    yield check_data(site)
    yield from check_command("policy.on-alarm", site.policy.on_alarm)
    yield from check_machine(site.folder, trains=True)
    if site.federation is not None:
        yield check_approvals(site)
        yield check_audit_log(site, site.federation)
        yield check_ledger(site)
        yield check_presence(site)
        yield from _check_server_connection(site, site.federation)


def _check_server_connection(site: Site, federation: SiteFederation) -> Iterator[CheckResult]:
    """Check the server as the site reaches it, with the site's certificate when it has a usable one."""
    ca, certificate = site.folder / federation.ca, site.folder / federation.certificate
    with tempfile.TemporaryDirectory() as scratch:
        key = Path(scratch) / "tls.key"
        with suppress(MedflError):
            write_private(key, private_key_pem(site.folder / federation.key), "the key")
        if key.exists() and certificate.is_file():
            yield from check_connection(federation.server, ca, certificate, key)
        else:
            yield from check_connection(federation.server, ca)


def check_site_files(site: Site) -> Iterator[CheckResult]:
    """Check the files without which a site cannot start: secret, key and certificates."""
    yield _check_secret(site)
    if site.federation is None:
        fix = "Unpack the kit that the server's operator gave you: medfl site join KIT.zip."
        yield CheckResult("FEDERATION", "error", "site.toml has no table [federation].", fix)
        return
    federation, folder = site.federation, site.folder
    yield _check_private_file(folder / federation.key)
    yield check_certificate(folder / federation.ca, "the certificate of the authority", "Unpack the kit again.")
    if (folder / federation.certificate).exists():
        fix = "Ask the server's operator for a renewed kit: medfl server renew SITE."
        yield check_certificate(folder / federation.certificate, "the certificate of this site", fix)
        yield _check_key_pair(folder / federation.key, folder / federation.certificate)


def check_data(site: Site) -> CheckResult:
    """Check that the folder of the images can be listed; `medfl data check` says whether they fit a study."""
    try:
        entry = next(site.root.iterdir(), None)
    except OSError:
        fix = "Check 'data.root' in site.toml, and that the account that runs medfl may read it."
        return CheckResult("DATA", "error", "The folder of the images cannot be read.", fix)
    if entry is None:
        return CheckResult(
            "DATA", "error", "The folder of the images is empty.", "Is the disk mounted? See 'data.root' in site.toml."
        )
    return CheckResult("DATA", "ok", "The folder of the images can be read. Whether they fit: medfl data check SITE STUDY.")


def check_approvals(site: Site) -> CheckResult:
    """Check the approvals, and list the approved studies."""
    try:
        names = sorted(approval.name for approval in approved_studies(site))
    except MedflError as error:
        return CheckResult("APPROVED", "error", error.what, error.fix)
    if not names:
        return CheckResult("APPROVED", "warning", "No study is approved, so none will run.", "medfl site approve STUDY.fab")
    return CheckResult("APPROVED", "ok", f"Approved: {', '.join(names)}.")


def check_audit_log(site: Site, federation: SiteFederation) -> CheckResult:
    """Verify the hash chain of the site's log of exchanges."""
    path = site.folder / federation.audit
    if not path.exists():
        return CheckResult("AUDIT", "ok", "The log of exchanges is empty so far.")
    try:
        found = verify_logs([path])
    except AuditError as error:
        return CheckResult("AUDIT", "error", error.what, error.fix)
    if found.breaks:
        fix = "Keep the file as it is, see 'medfl audit verify', and find out who could write to it."
        return CheckResult("AUDIT", "error", "The log of exchanges was changed after it was written.", fix)
    if found.strays:
        what = f"{plural(len(found.strays), 'message')} came that no log of the server claims to have sent."
        return CheckResult("AUDIT", "warning", what, "See 'medfl audit verify', and ask the server's operator.")
    return CheckResult("AUDIT", "ok", "The log of exchanges is unchanged.")


def check_ledger(site: Site) -> CheckResult:
    """Check that the record of what was asked can be read and written, without which the site answers nothing."""
    try:
        usages = Ledger(ledger_folder(site)).list_usage()
    except DataError as error:
        return CheckResult("BUDGET", "error", error.what, error.fix)
    folder = ledger_folder(site)
    if any(path.stat().st_mode & 0o077 for path in (folder, *folder.rglob("*")) if path.exists()):
        fix = f"chmod -R go= {shlex.quote(str(folder))}"
        return CheckResult("BUDGET", "error", "Other accounts of this computer can read what was asked and answered.", fix)
    forgotten = find_forgotten(site)
    if forgotten is not None:
        return CheckResult("BUDGET", "warning", forgotten.what, forgotten.fix)
    runs = sum(len(usage.runs) for usage in usages)
    what = f"What was asked is on record: {plural(runs, 'run')} of {plural(len(usages), 'study', 'studies')}."
    return CheckResult("BUDGET", "ok", what)


def _check_secret(site: Site) -> CheckResult:
    try:
        site.secret()
    except DataError as error:
        return CheckResult("SECRET", "error", error.what, error.fix)
    return _check_private_file(site.folder / site.secret_file)


def _check_private_file(path: Path) -> CheckResult:
    """Check that a secret file exists, and that only its owner can read it."""
    try:
        mode = path.stat().st_mode
    except OSError:
        fix = "Restore it from a copy. Without one: medfl site init, and a new request to the server's operator."
        return CheckResult("KEY", "error", f"{path.name} is missing.", fix)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        return CheckResult(
            "KEY",
            "error",
            f"Accounts other than the owner's may read {path.name}.",
            f"chmod 600 {path.name}, or make a new one.",
        )
    return CheckResult("KEY", "ok", f"{path.name} exists, and only its owner can read it.")


def _check_key_pair(key: Path, certificate: Path) -> CheckResult:
    def encoded(public: object) -> bytes:
        return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined, no-any-return]

    try:
        private = load_ssh_private_key(key.read_bytes(), None)
        certified = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
        is_pair = encoded(private.public_key()) == encoded(certified)
    except (OSError, ValueError):
        is_pair = False
    if not is_pair:
        return CheckResult(
            "KEY", "error", "The certificate does not belong to the key.", "Unpack the kit that was made for this key."
        )
    return CheckResult("KEY", "ok", "Key and certificate belong together.")
