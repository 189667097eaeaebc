"""`medfl site up`: what a site needs is checked, then its SuperNode and its worker are started and kept running."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medfl.deploy.doctor.machine import not_shadowed
from medfl.deploy.doctor.site import site_files
from medfl.deploy.identity import pem_of
from medfl.deploy.processes import Child, supervise
from medfl.deploy.worker import SITE_CHANGED, federation_of
from medfl.errors import DeployError
from medfl.flower import compat
from medfl.site import Site, read_site
from medfl.system.locks import take
from medfl.system.ports import free_port
from medfl.system.private_files import write_private

_OWN = ".medfl"  # folder beside the site.toml for what a running site needs
_LEASE = 15.0  # seconds before a SuperNode is started again: the server refuses it while it counts the old one as connected


@dataclass(frozen=True)
class SiteProcesses:
    """The two processes of a site, ready to be started.

    Parameters
    ----------
    supernode : Child
        Talks to the server.
    worker : Child
        Decides about messages and answers them.
    """

    supernode: Child
    worker: Child


def site_up(folder: Path, tell: Callable[[str], None]) -> int:
    """Check a site, start it, and keep it running until Ctrl-C or SIGTERM.

    Parameters
    ----------
    folder : Path
        With the ``site.toml``.
    tell : callable
        Gets a line for a person now and then.

    Returns
    -------
    int
        Exit code.

    Raises
    ------
    DeployError
        ``SITE-NOT-READY`` with everything that is wrong, ``SITE-BUSY`` when the site is up already.
    """
    site = read_site(folder)
    require_ready(site)
    with _alone(site.folder / _OWN):
        processes = plan_site(site)
        tell(f"Site {site.name} connects to {federation_of(site).server}. Ctrl-C ends it. Logs: {site.folder / _OWN / 'logs'}")
        return supervise([processes.supernode, processes.worker], tell=tell)


@contextmanager
def _alone(own: Path) -> Iterator[None]:
    """Hold the lock of a site that is up: a second start would give its worker another secret than its SuperNode's."""
    own.mkdir(mode=0o700, exist_ok=True)
    with (own / "up.lock").open("a") as lock:
        if not take(lock):
            raise DeployError("SITE-BUSY", "this site is up already.", "End that first, or leave it running.")
        yield


def require_ready(site: Site) -> None:
    """Raise DeployError ``SITE-NOT-READY`` with every reason why a site can not be started."""
    wrong = [f for f in (*site_files(site), not_shadowed()) if f.level == "error"]
    if wrong:
        raise DeployError("SITE-NOT-READY", "this site can not be started:\n" + "\n".join(f"  {f}" for f in wrong))


def plan_site(site: Site) -> SiteProcesses:
    """Write what the processes of a site need, and return them ready to be started."""
    federation, own = federation_of(site), site.folder / _OWN
    for part in (own, own / "empty", own / "logs", own / "flower"):
        part.mkdir(mode=0o700, exist_ok=True)
    secret = write_private(own / "superexec.secret", secrets.token_bytes(32), "the secret of this start")
    address, shown = f"127.0.0.1:{federation.port or free_port()}", _shown(site, own)
    return SiteProcesses(
        supernode=Child(
            name="supernode",
            command=[*_python("medfl.deploy.supernode"), *shown, *_flags(site, address, secret)],
            env=_environment(own),
            cwd=own / "empty",
            log=own / "logs" / "supernode.log",
            delay=_LEASE,
        ),
        worker=Child(
            name="worker",
            command=[*_python("medfl.deploy.worker"), str((site.folder / "site.toml").resolve()), address, str(secret), *shown],
            env=_environment(own),
            cwd=own / "empty",
            log=own / "logs" / "worker.log",
            delay=1.0,
            expected=(SITE_CHANGED,),
        ),
    )


def _flags(site: Site, address: str, secret: Path) -> list[str]:
    federation, (host, _, port) = federation_of(site), address.rpartition(":")
    return [
        *("--superlink", federation.server),
        *("--root-certificates", str((site.folder / federation.ca).resolve())),
        *("--auth-supernode-private-key", str((site.folder / federation.key).resolve())),
        *("--isolation", "process", "--superexec-auth-secret-file", str(secret)),
        *("--host", host, "--port", port),
    ]


def _shown(site: Site, own: Path) -> tuple[str, str]:
    """Return the certificate and key that the site shows to the server's proxy, PEM files; empty where it has none."""
    federation = federation_of(site)
    certificate = site.folder / federation.certificate
    if not certificate.is_file():
        return "", ""
    return str(certificate.resolve()), str(write_private(own / "tls.key", pem_of(site.folder / federation.key), "the key"))


def _python(module: str) -> list[str]:
    return [sys.executable, "-P", "-m", module]  # -P: no folder but the installation's own comes first when it imports


def _environment(own: Path) -> dict[str, str]:
    environment = os.environ | {"FLWR_HOME": str(own / "flower"), "PYTHONSAFEPATH": "1"}
    compat.be_quiet(environment)
    return environment
