"""What is checked of a server: certificates, who is about to leave, what is published and what must not be, the machine."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import psutil

from medfl.deploy.doctor.certificates import certificate
from medfl.deploy.doctor.findings import Finding
from medfl.deploy.doctor.machine import machine
from medfl.deploy.doctor.reach import reach
from medfl.deploy.folder import FederationFolder, open_federation
from medfl.deploy.proxy import command
from medfl.deploy.registry import enrolled
from medfl.deploy.superlink import is_up
from medfl.errors import DeployError, MedflError

_LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


def check_server(path: Path) -> Iterator[Finding]:
    """Check everything that the server of a federation needs.

    Parameters
    ----------
    path : Path
        With the ``federation.toml``.
    """
    try:
        folder = open_federation(path)
    except MedflError as error:
        yield Finding("FEDERATION", "error", f"federation.toml has problems: {error}", "Mend the lines that are named.")
        return
    yield Finding("FEDERATION", "ok", f"The federation {folder.settings.name} can be read.")
    yield from _certificates(folder)
    yield from _secrets(folder)
    yield from _sites(folder)
    yield _nginx(folder)
    yield from machine(folder.path, trains=False)
    yield from _running(folder)


def _certificates(folder: FederationFolder) -> Iterator[Finding]:
    yield certificate(folder.ca_certificate, "the certificate of the authority", "Put back its copy.")
    fix = "Make a new one: medfl server renew --server, then start the server again."
    yield certificate(folder.server_certificate, "the certificate of the server", fix)


def _secrets(folder: FederationFolder) -> Iterator[Finding]:
    secret = folder.path / "superlink" / "superexec.secret"
    shared = [
        p.name
        for p in (folder.ca_key, folder.server_key, secret)
        if p.exists() and p.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    ]
    if shared:
        yield Finding("KEY", "error", f"Others than the owner may read {', '.join(shared)}.", "chmod 600 each of them.")
    elif folder.ca_key.exists():
        yield Finding("KEY", "ok", "The keys are for their owner alone. ca/ca.key is needed to enrol, renew and revoke only.")
    else:
        yield Finding("KEY", "ok", "The keys are for their owner alone; the authority's is kept elsewhere.")


def _sites(folder: FederationFolder) -> Iterator[Finding]:
    try:
        states = {site.name: site.state() for site in enrolled(folder)}
    except DeployError as error:
        yield Finding("SITES", "error", error.what, error.fix)
        return
    taking_part = [name for name, state in states.items() if state in ("valid", "expiring")]
    ending = [name for name, state in states.items() if state in ("expiring", "expired")]
    if not taking_part:
        yield Finding("SITES", "warning", "No site may take part.", "Enrol some: medfl server enrol NAME.request.json")
    else:
        yield Finding("SITES", "ok", f"{len(taking_part)} sites may take part: {', '.join(taking_part)}.")
    if ending:
        fix = "medfl server renew SITE, or a new key where it is over."
        yield Finding("SITES", "warning", f"About to end, or over: {', '.join(ending)}.", fix)


def _nginx(folder: FederationFolder) -> Finding:
    try:
        command(folder.path / "proxy" / "nginx.conf")
    except DeployError as error:
        return Finding("NGINX", "error", error.what, error.fix)
    return Finding("NGINX", "ok", "nginx is installed.")


def _running(folder: FederationFolder) -> Iterator[Finding]:
    settings = folder.settings
    if not is_up(folder):
        yield Finding("SERVER", "warning", "The server is not running.", "Start it: medfl server up FEDERATION")
        return
    yield Finding("SERVER", "ok", "Flower's server runs.")
    try:
        listening = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        listening = []
    wide = {c.laddr.ip for c in listening if c.status == "LISTEN" and c.laddr and c.laddr.port == settings.superlink.port}
    if wide - set(_LOOPBACK):
        fix = "Anybody who reaches that port can run code at every hospital: start it with 'medfl server up' only."
        yield Finding("EXPOSED", "error", "Flower's own server listens on more than loopback.", fix)
    if settings.proxy.client_certificates:
        yield Finding("FLEET", "ok", "nginx asks for a site's certificate; how it looks from outside a site's doctor tells.")
    else:
        yield from reach(settings.address, folder.ca_certificate)
