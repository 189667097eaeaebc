"""Flower's SuperLink of a federation: its processes on loopback, and the ``flwr`` commands that are given to it."""

from __future__ import annotations

import json
import os
import secrets
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomli_w

from medfl.deploy.federation_folder import FederationFolder
from medfl.deploy.supervisor import Child
from medfl.errors import DeployError
from medfl.flower import compat
from medfl.messages.run_signing import SUBMITTED_VARIABLE
from medfl.system.files import write_private

CONNECTION = "fed"  # name of the connection in Flower's own configuration
_POLL_SECONDS = "0.1"  # between SuperExec's looks for a task
_TIMEOUT = 120.0  # seconds that an answer may take


def superlink_process(folder: FederationFolder) -> Child:
    """Return the process of Flower's server: on loopback, with TLS, node authentication, and its database on disk."""
    superlink_folder = _superlink_folder(folder)
    command = [
        *_with_parent_watch(sys.executable, "-P", "-m", "medfl.deploy.flower_superlink", "flower-superlink"),
        *("--host", "127.0.0.1", "--port", str(folder.settings.superlink.port)),
        *("--ssl-ca-certfile", str(folder.ca_certificate), "--ssl-certfile", str(folder.server_certificate)),
        *("--ssl-keyfile", str(folder.server_key), "--enable-supernode-auth"),
        *("--isolation", "process", "--superexec-auth-secret-file", str(_secret_file(folder))),
        *("--database", str(superlink_folder / "state.db"), "--disable-runtime-dependency-installation"),
    ]
    return _make_child(folder, "superlink", command, is_ready=lambda: is_superlink_up(folder))


def superexec_process(folder: FederationFolder) -> Child:
    """Return the process that starts one process for each run; it alone has the secret that is needed to get tasks."""
    command = [
        *_with_parent_watch(_program_path("flower-superexec")),
        *("--root-certificates", str(folder.ca_certificate)),
        *("--runtime-api-address", _address(folder), "--superexec-auth-secret-file", str(_secret_file(folder))),
    ]
    return _make_child(folder, "superexec", command)


def is_superlink_up(folder: FederationFolder) -> bool:
    """Return whether Flower's server answers on loopback."""
    context = ssl.create_default_context(cafile=folder.ca_certificate)
    try:
        with urllib.request.urlopen(f"https://{_address(folder)}/health", timeout=2, context=context) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def run_flwr(folder: FederationFolder, *arguments: str) -> dict[str, Any]:
    """Give a command to Flower's server with its documented program ``flwr``.

    Parameters
    ----------
    folder : FederationFolder
        Folder of the server.
    *arguments : str
        Arguments of ``flwr``, among them the connection's name and ``--format json``.

    Returns
    -------
    dict
        The answer.

    Raises
    ------
    DeployError
        ``SERVER-DOWN`` when the server is not running, ``SERVER-SLOW``, ``FLOWER-SAYS-NO`` when it refuses.
    """
    try:
        answer = json.loads(_call_flwr(folder, arguments).stdout)
    except json.JSONDecodeError:
        answer = {}
    if isinstance(answer, dict) and answer.get("success"):
        return answer
    raise _refusal_error(folder, arguments, str(answer.get("error-message", "")) if isinstance(answer, dict) else "")


def run_flwr_text(folder: FederationFolder, *arguments: str) -> str:
    """Return what Flower's program ``flwr`` prints; raises as `run_flwr` does."""
    done = _call_flwr(folder, arguments)
    if done.returncode:
        raise _refusal_error(folder, arguments)
    return done.stdout


def flower_environment(folder: FederationFolder) -> dict[str, str]:
    """Return the environment of Flower's processes: its home in the federation's folder, and no telemetry."""
    home = _superlink_folder(folder) / "flwr"
    configuration = home / "config.toml"
    connection = {"address": _address(folder), "root-certificates": str(folder.ca_certificate)}
    text = tomli_w.dumps({"superlink": {"default": CONNECTION, CONNECTION: connection}}).encode()
    if not configuration.exists() or configuration.read_bytes() != text:  # the folder was moved, or its port changed
        write_private(configuration, text, "settings")
    environment = os.environ | {
        "FLWR_HOME": str(home),
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": _POLL_SECONDS,
        "MEDFL_RUNS": str(folder.path / "runs"),
        SUBMITTED_VARIABLE: str(folder.submitted),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONSAFEPATH": "1",
    }
    compat.disable_telemetry(environment)
    return environment


def _call_flwr(folder: FederationFolder, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    command, cwd = [_program_path("flwr"), *arguments], _superlink_folder(folder) / "empty"
    try:
        return subprocess.run(
            command, env=flower_environment(folder), cwd=cwd, capture_output=True, text=True, check=False, timeout=_TIMEOUT
        )
    except subprocess.TimeoutExpired:
        fix = f"See {folder.path / 'logs' / 'superlink.log'}; restarting the server loses nothing but the current round."
        raise DeployError("SERVER-SLOW", f"the server did not answer within {_TIMEOUT:g} seconds.", fix) from None


def _refusal_error(folder: FederationFolder, arguments: Sequence[str], reason: str = "") -> DeployError:
    if not is_superlink_up(folder):
        return DeployError(
            "SERVER-DOWN", "the server of this federation is not running.", "Start it: medfl server up FEDERATION."
        )
    return DeployError("FLOWER-SAYS-NO", f"Flower refused '{' '.join(arguments[:2])}': {reason or 'it gives no reason'}.")


def _make_child(folder: FederationFolder, name: str, command: list[str], **options: Any) -> Child:
    log = folder.path / "logs" / f"{name}.log"
    return Child(
        name=name, command=command, env=flower_environment(folder), cwd=_superlink_folder(folder) / "empty", log=log, **options
    )


def _superlink_folder(folder: FederationFolder) -> Path:
    superlink_folder = folder.path / "superlink"
    for part in (superlink_folder, superlink_folder / "empty", superlink_folder / "flwr"):
        part.mkdir(parents=True, exist_ok=True, mode=0o700)
    return superlink_folder


def _secret_file(folder: FederationFolder) -> Path:
    path = _superlink_folder(folder) / "superexec.secret"
    return path if path.exists() else write_private(path, secrets.token_bytes(32), "the secret of the server")


def _address(folder: FederationFolder) -> str:
    return f"127.0.0.1:{folder.settings.superlink.port}"


def _program_path(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _with_parent_watch(*command: str) -> list[str]:
    return [sys.executable, "-P", "-m", "medfl.system.parent_watch", *command]
