"""Processes of `medfl site up`: a SuperNode and a worker, started once the site is checked, and kept running."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medfl.deploy.code_watch import CodeWatch
from medfl.deploy.doctor.installation_checks import check_code
from medfl.deploy.doctor.site_checks import check_site_files
from medfl.deploy.identity import private_key_pem
from medfl.deploy.site_state import LOCK_FILE, STATE_FOLDER, SUPERNODE_LOG, server_pulse
from medfl.deploy.site_worker import SITE_CHANGED, require_federation
from medfl.deploy.supervisor import Child, supervise
from medfl.errors import DeployError
from medfl.flower import compat
from medfl.site import Site, read_site
from medfl.system.files import private_files, write_private
from medfl.system.locks import take_lock
from medfl.system.ports import find_free_port

_RESTART_DELAY = 15.0  # seconds until a SuperNode is restarted: the server refuses it while the old one counts as connected


@dataclass(frozen=True)
class SiteProcesses:
    """The two processes of a site, ready to be started.

    Parameters
    ----------
    supernode : Child
        Talks to the server.
    worker : Child
        Authorizes messages and answers them.
    """

    supernode: Child
    worker: Child


def site_up(folder: Path, notify: Callable[[str], None]) -> int:
    """Check a site, start it, and keep it running until Ctrl-C or SIGTERM.

    Parameters
    ----------
    folder : Path
        Folder of the ``site.toml``.
    notify : callable
        Gets a line for a person when something happens.

    Returns
    -------
    int
        Exit code.

    Raises
    ------
    DeployError
        ``SITE-NOT-READY`` with every problem, ``SITE-BUSY`` when the site is already up.
    """
    site = read_site(folder)
    require_ready(site)
    with private_files(), _site_lock(site):
        processes = prepare_processes(site)
        logs = (site.folder / SUPERNODE_LOG).parent
        notify(f"Site {site.name} connects to {require_federation(site).server}. Ctrl-C ends it. Logs: {logs}")
        codes = CodeWatch(processes.worker.log, notify)
        return supervise([processes.supernode, processes.worker], notify, on_tick=codes.look)


@contextmanager
def _site_lock(site: Site) -> Iterator[None]:
    """Hold the lock of a site that is up: a second start would replace the secret that its worker and SuperNode share."""
    (site.folder / STATE_FOLDER).mkdir(mode=0o700, exist_ok=True)
    with (site.folder / LOCK_FILE).open("a") as lock:
        if not take_lock(lock):
            raise DeployError("SITE-BUSY", "this site is already up.", "End it first, or leave it running.")
        yield


def require_ready(site: Site) -> None:
    """Raise DeployError ``SITE-NOT-READY`` with every reason why a site cannot be started."""
    problems = [result for result in (*check_site_files(site), *check_code()) if result.level == "error"]
    if problems:
        raise DeployError("SITE-NOT-READY", "this site cannot be started:\n" + "\n".join(f"  {p}" for p in problems))


def prepare_processes(site: Site) -> SiteProcesses:
    """Write what the processes of a site need, and return them ready to be started."""
    federation, state_folder = require_federation(site), site.folder / STATE_FOLDER
    for part in (state_folder, state_folder / "empty", state_folder / "logs", state_folder / "flower"):
        part.mkdir(mode=0o700, exist_ok=True)
    secret = write_private(state_folder / "superexec.secret", secrets.token_bytes(32), "the secret of this start")
    address, certificate = f"127.0.0.1:{federation.port or find_free_port()}", _client_certificate(site, state_folder)
    pulse = server_pulse(site)
    for file in filter(None, (pulse.sign, pulse.activity)):
        file.unlink(missing_ok=True)  # that of an earlier start says nothing
    return SiteProcesses(
        supernode=Child(
            name="supernode",
            command=[
                *_python_command("medfl.deploy.supernode"),
                *certificate,
                str(pulse.sign.resolve()),
                str(federation.max_message_megabytes),
                *_supernode_flags(site, address, secret),
            ],
            env=_environment(state_folder),
            cwd=state_folder / "empty",
            log=site.folder / SUPERNODE_LOG,
            restart_delay=_RESTART_DELAY,
            pulse=pulse,
        ),
        worker=Child(
            name="worker",
            command=[
                *_python_command("medfl.deploy.site_worker"),
                str((site.folder / "site.toml").resolve()),
                address,
                str(secret),
                *certificate,
            ],
            env=_environment(state_folder),
            cwd=state_folder / "empty",
            log=state_folder / "logs" / "worker.log",
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


def _client_certificate(site: Site, state_folder: Path) -> tuple[str, str]:
    """Return the PEM files of the certificate and key that the site shows to the server's proxy; empty when it has none."""
    federation = require_federation(site)
    certificate = site.folder / federation.certificate
    if not certificate.is_file():
        return "", ""
    key = write_private(state_folder / "tls.key", private_key_pem(site.folder / federation.key), "the key")
    return str(certificate.resolve()), str(key)


def _python_command(module: str) -> list[str]:
    return [sys.executable, "-P", "-m", module]  # -P: imports come from the installation, never from the working folder


def _environment(state_folder: Path) -> dict[str, str]:
    environment = os.environ | {"FLWR_HOME": str(state_folder / "flower"), "PYTHONSAFEPATH": "1"}
    compat.disable_telemetry(environment)
    return environment
