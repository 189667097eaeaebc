"""Checks of a server: certificates, keys, sites that expire soon, what is published and what must not be, the machine."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import psutil

from medfl.deploy.doctor.certificate_checks import check_certificate
from medfl.deploy.doctor.check_result import CheckResult
from medfl.deploy.doctor.command_checks import check_command
from medfl.deploy.doctor.connection_checks import check_connection
from medfl.deploy.doctor.machine_checks import check_machine
from medfl.deploy.federation_folder import FederationFolder, open_federation
from medfl.deploy.presence import list_presence
from medfl.deploy.proxy import has_stream_module, nginx_command
from medfl.deploy.site_registry import list_enrolled
from medfl.deploy.superlink import is_superlink_up
from medfl.errors import DeployError, MedflError
from medfl.system.text import plural

_LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


def check_server(path: Path) -> Iterator[CheckResult]:
    """Check everything that the server of a federation needs.

    Parameters
    ----------
    path : Path
        Folder with the ``federation.toml``.
    """
    try:
        folder = open_federation(path)
    except MedflError as error:
        yield CheckResult(
            "FEDERATION", "error", f"federation.toml has problems: {error}", "Correct the entries that are named."
        )
        return
    yield CheckResult("FEDERATION", "ok", f"The federation {folder.settings.name} can be read.")
    yield from _check_certificates(folder)
    yield from _check_secrets(folder)
    yield from _check_sites(folder)
    yield _check_nginx(folder)
    yield from check_command("monitor.on-failure", folder.settings.monitor.on_failure, folder.path)
    yield from check_machine(folder.path, trains=False)
    yield from _check_running(folder)


def _check_certificates(folder: FederationFolder) -> Iterator[CheckResult]:
    yield check_certificate(folder.ca_certificate, "the certificate of the authority", "Restore it from a copy.")
    fix = "Make a new one: medfl server renew --server, then start the server again."
    yield check_certificate(folder.server_certificate, "the certificate of the server", fix)


def _check_secrets(folder: FederationFolder) -> Iterator[CheckResult]:
    secret = folder.path / "superlink" / "superexec.secret"
    shared = [
        p.name
        for p in (folder.ca_key, folder.server_key, secret)
        if p.exists() and p.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    ]
    if shared:
        yield CheckResult(
            "KEY", "error", f"Accounts other than the owner's may read {', '.join(shared)}.", "chmod 600 each of them."
        )
    elif folder.ca_key.exists():
        yield CheckResult(
            "KEY", "ok", "Only their owner can read the keys. ca/ca.key is needed only to enrol, renew and revoke."
        )
    else:
        yield CheckResult("KEY", "ok", "Only their owner can read the keys; the authority's is stored elsewhere.")


def _check_sites(folder: FederationFolder) -> Iterator[CheckResult]:
    try:
        states = {site.name: site.state() for site in list_enrolled(folder)}
    except DeployError as error:
        yield CheckResult("SITES", "error", error.what, error.fix)
        return
    taking_part = [name for name, state in states.items() if state in ("valid", "expiring")]
    ending = [name for name, state in states.items() if state in ("expiring", "expired")]
    if not taking_part:
        yield CheckResult("SITES", "warning", "No site may take part.", "Enrol some: medfl server enrol NAME.request.json")
    else:
        yield CheckResult("SITES", "ok", f"{len(taking_part)} sites may take part: {', '.join(taking_part)}.")
    if ending:
        fix = "medfl server renew SITE; one that has expired needs a new key."
        yield CheckResult("SITES", "warning", f"About to expire, or expired: {', '.join(ending)}.", fix)


def _check_nginx(folder: FederationFolder) -> CheckResult:
    try:
        nginx_command(folder.path / "proxy" / "nginx.conf")
    except DeployError as error:
        return CheckResult("NGINX", "error", error.what, error.fix)
    if not has_stream_module():
        what = "nginx is installed without its stream module, so strangers at one address may hold all of its connections."
        return CheckResult("NGINX", "warning", what, "On Debian or Ubuntu: apt-get install libnginx-mod-stream.")
    return CheckResult("NGINX", "ok", "nginx is installed.")


def _check_presence(folder: FederationFolder) -> CheckResult:
    """Check which of the sites that may take part are connected."""
    try:
        present = list_presence(folder).values()
    except DeployError as error:
        return CheckResult("PRESENCE", "error", error.what, error.fix)
    away = [f"{site.name} ({site})" for site in present if not site.is_online]
    if away:
        fix = "Ask them to look: medfl doctor at the site says what keeps it away."
        return CheckResult("PRESENCE", "warning", f"Not connected: {', '.join(away)}.", fix)
    return CheckResult("PRESENCE", "ok", f"{plural(len(present), 'site is', 'sites are')} connected.")


def _check_running(folder: FederationFolder) -> Iterator[CheckResult]:
    settings = folder.settings
    if not is_superlink_up(folder):
        yield CheckResult("SERVER", "warning", "The server is not running.", "Start it: medfl server up FEDERATION")
        return
    yield CheckResult("SERVER", "ok", "Flower's server is running.")
    yield _check_presence(folder)
    try:
        listening = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        listening = []
    addresses = {c.laddr.ip for c in listening if c.status == "LISTEN" and c.laddr and c.laddr.port == settings.superlink.port}
    if addresses - set(_LOOPBACK):
        fix = "Anybody who can reach that port can run code at every hospital: start it only with 'medfl server up'."
        yield CheckResult("EXPOSED", "error", "Flower's own server listens on more than loopback.", fix)
    if settings.proxy.client_certificates:
        yield CheckResult(
            "FLEET", "ok", "nginx asks for a site's certificate; run 'medfl doctor' at a site to check it from outside."
        )
    else:
        yield from check_connection(settings.address, folder.ca_certificate)
