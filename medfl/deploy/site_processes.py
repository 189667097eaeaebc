"""`medfl site up`: what a site needs is checked, then its SuperNode and its worker are started and kept running."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medfl.deploy.doctor.machine_checks import check_not_shadowed
from medfl.deploy.doctor.site_checks import check_site_files
from medfl.deploy.identity import private_key_pem
from medfl.deploy.site_worker import SITE_CHANGED, require_federation
from medfl.deploy.supervisor import Child, supervise
from medfl.errors import DeployError
from medfl.flower import compat
from medfl.site import Site, read_site
from medfl.system.files import write_private
from medfl.system.locks import take_lock
from medfl.system.ports import find_free_port

_STATE_FOLDER = ".medfl"  # folder beside the site.toml for what a running site needs
_RESTART_DELAY = (
    15.0  # seconds before a SuperNode is started again: the server refuses it while it counts the old one as connected
)


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
    with _site_lock(site.folder / _STATE_FOLDER):
        processes = prepare_processes(site)
        tell(
            f"Site {site.name} connects to {require_federation(site).server}. Ctrl-C ends it. Logs: {site.folder / _STATE_FOLDER / 'logs'}"
        )
        return supervise([processes.supernode, processes.worker], tell=tell)


@contextmanager
def _site_lock(own: Path) -> Iterator[None]:
    """Hold the lock of a site that is up: a second start would give its worker another secret than its SuperNode's."""
    own.mkdir(mode=0o700, exist_ok=True)
    with (own / "up.lock").open("a") as lock:
        if not take_lock(lock):
            raise DeployError("SITE-BUSY", "this site is up already.", "End that first, or leave it running.")
        yield


def require_ready(site: Site) -> None:
    """Raise DeployError ``SITE-NOT-READY`` with every reason why a site cannot be started."""
    wrong = [f for f in (*check_site_files(site), check_not_shadowed()) if f.level == "error"]
    if wrong:
        raise DeployError("SITE-NOT-READY", "this site cannot be started:\n" + "\n".join(f"  {f}" for f in wrong))


def prepare_processes(site: Site) -> SiteProcesses:
    """Write what the processes of a site need, and return them ready to be started."""
    federation, own = require_federation(site), site.folder / _STATE_FOLDER
    for part in (own, own / "empty", own / "logs", own / "flower"):
        part.mkdir(mode=0o700, exist_ok=True)
    secret = write_private(own / "superexec.secret", secrets.token_bytes(32), "the secret of this start")
    address, shown = f"127.0.0.1:{federation.port or find_free_port()}", _client_certificate(site, own)
    return SiteProcesses(
        supernode=Child(
            name="supernode",
            command=[*_python_command("medfl.deploy.supernode"), *shown, *_supernode_flags(site, address, secret)],
            env=_environment(own),
            cwd=own / "empty",
            log=own / "logs" / "supernode.log",
            restart_delay=_RESTART_DELAY,
        ),
        worker=Child(
            name="worker",
            command=[
                *_python_command("medfl.deploy.site_worker"),
                str((site.folder / "site.toml").resolve()),
                address,
                str(secret),
                *shown,
            ],
            env=_environment(own),
            cwd=own / "empty",
            log=own / "logs" / "worker.log",
            restart_delay=1.0,
            expected_exit_codes=(SITE_CHANGED,),
        ),
    )


def _supernode_flags(site: Site, address: str, secret: Path) -> list[str]:
    federation, (host, _, port) = require_federation(site), address.rpartition(":")
    return [
        *("--superlink", federation.server),
        *("--root-certificates", str((site.folder / federation.ca).resolve())),
        *("--auth-supernode-private-key", str((site.folder / federation.key).resolve())),
        *("--isolation", "process", "--superexec-auth-secret-file", str(secret)),
        *("--host", host, "--port", port),
    ]


def _client_certificate(site: Site, own: Path) -> tuple[str, str]:
    """Return the certificate and key that the site shows to the server's proxy, PEM files; empty where it has none."""
    federation = require_federation(site)
    certificate = site.folder / federation.certificate
    if not certificate.is_file():
        return "", ""
    return str(certificate.resolve()), str(
        write_private(own / "tls.key", private_key_pem(site.folder / federation.key), "the key")
    )


def _python_command(module: str) -> list[str]:
    return [sys.executable, "-P", "-m", module]  # -P: no folder but the installation's own comes first when it imports


def _environment(own: Path) -> dict[str, str]:
    environment = os.environ | {"FLWR_HOME": str(own / "flower"), "PYTHONSAFEPATH": "1"}
    compat.disable_telemetry(environment)
    return environment
