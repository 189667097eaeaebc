"""Processes of `medfl server up`: Flower's SuperLink on loopback, its SuperExec, and nginx as the only way in."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from medfl.deploy.doctor.certificate_checks import check_certificate
from medfl.deploy.federation_folder import FederationFolder, open_federation
from medfl.deploy.listening import is_taken, require_free
from medfl.deploy.monitor_server import monitored
from medfl.deploy.proxy import ProxyConfig, has_stream_module, nginx_command, write_config
from medfl.deploy.server_monitor import ServerMonitor
from medfl.deploy.superlink import superexec_process, superlink_process
from medfl.deploy.supervisor import Child, supervise
from medfl.errors import DeployError
from medfl.system.files import private_files
from medfl.system.locks import take_lock
from medfl.system.ports import find_free_port

_PID_FILE = "server.pid"
_STOP_TIMEOUT = 45.0  # seconds to wait for a server to end


def server_up(path: Path, notify: Callable[[str], None]) -> int:
    """Start the server of a federation and keep it running until Ctrl-C, SIGTERM or `server_down`.

    Parameters
    ----------
    path : Path
        Folder of the federation.
    notify : callable
        Gets a line for a person when something happens.

    Returns
    -------
    int
        Exit code.

    Raises
    ------
    DeployError
        ``SERVER-BUSY`` when it is already up, ``CERTIFICATE`` when one is missing or expired, ``PORT-TAKEN``, ``PORT-DENIED``,
        ``ADDRESS-FOREIGN``, ``NGINX-MISSING``, ``NOT-STARTED``, ``EXPOSED``.
    """
    folder = open_federation(path)
    with private_files(), _server_lock(folder):
        _require_certificates(folder)
        nginx = _nginx_process(folder)
        monitor_address = folder.settings.monitor.listen
        for address in (f"127.0.0.1:{folder.settings.superlink.port}", folder.settings.proxy.listen, monitor_address):
            if address:
                require_free(address)
        notify(f"Starting the server of {folder.settings.name}: Flower's SuperLink and SuperExec, then nginx.")
        monitor = ServerMonitor(folder, notify)
        children = [superlink_process(folder), superexec_process(folder), nginx]
        with monitored(folder):
            return supervise(children, notify, on_ready=monitor.start, on_tick=monitor.check)


def server_down(path: Path) -> bool:
    """End the server of a federation; return False when it was not running.

    Raises
    ------
    DeployError
        ``NOT-YOURS`` when another account started it, ``NOT-ENDED`` when it is still running after a while.
    """
    folder = open_federation(path)
    pid = _running_pid(folder)
    if pid is None:
        return False
    try:
        os.kill(pid, signal.SIGTERM)
    except PermissionError:
        raise _permission_error() from None
    deadline = time.monotonic() + _STOP_TIMEOUT
    while _running_pid(folder) is not None:
        if time.monotonic() >= deadline:
            raise DeployError("NOT-ENDED", "the server was asked to end, and is still running.", f"Its process is {pid}.")
        time.sleep(0.2)
    return True


def _require_certificates(folder: FederationFolder) -> None:
    certificates = {
        folder.ca_certificate: ("the certificate of the authority", "Restore the folder 'ca' from a copy."),
        folder.server_certificate: ("the certificate of the server", "Make a new one: medfl server renew --server."),
    }
    for path, (name, fix) in certificates.items():
        result = check_certificate(path, name, fix)
        if result.level == "error":
            raise DeployError(result.code, result.what, result.fix)


def _nginx_process(folder: FederationFolder) -> Child:
    settings, proxy_folder = folder.settings, folder.path / "proxy"
    config = ProxyConfig(
        folder=proxy_folder,
        listen=settings.proxy.listen,
        upstream=settings.superlink.port,
        certificate=folder.server_certificate,
        key=folder.server_key,
        ca=folder.ca_certificate,
        crl=folder.crl if settings.proxy.client_certificates else None,
        inner=find_free_port() if has_stream_module() else None,
        max_body_megabytes=settings.proxy.max_body_megabytes,
    )
    return Child(
        name="nginx",
        command=[sys.executable, "-P", "-m", "medfl.system.parent_watch", *nginx_command(write_config(config))],
        env=os.environ,
        cwd=proxy_folder,
        log=folder.path / "logs" / "nginx.log",
        is_ready=lambda: is_taken(config.listen),
    )


@contextmanager
def _server_lock(folder: FederationFolder) -> Iterator[None]:
    """Hold the lock of a federation's server: a file with the number of this process."""
    with _open_pid_file(folder) as file:
        if not take_lock(file):
            fix = "End it with 'medfl server down', or leave it running."
            raise DeployError("SERVER-BUSY", "the server of this federation is already up.", fix)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _running_pid(folder: FederationFolder) -> int | None:
    """Return the process id of the running server, if there is one."""
    if not (folder.path / _PID_FILE).exists():
        return None
    with _open_pid_file(folder) as file:
        file.seek(0)
        pid = file.read()
        return int(pid) if not take_lock(file) and pid.isdigit() else None


def _open_pid_file(folder: FederationFolder) -> IO[str]:
    try:
        return (folder.path / _PID_FILE).open("a+")
    except PermissionError:
        raise _permission_error() from None


def _permission_error() -> DeployError:
    fix = "Use the account that owns the folder; a server that systemd runs is ended with systemctl."
    return DeployError("NOT-YOURS", "this account may not start or end the server of this federation.", fix)
