"""Ray engine: a study under Flower's own simulation runtime, through a SuperLink of this run alone.

The SuperLink that ``flwr run`` starts by itself would run for ever, install packages, and keep the environment and the working
folder of the first run that used it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import tomli_w

from medfl.errors import EngineError
from medfl.flower import compat
from medfl.study.study_file import STUDY_FILE, Scalar, StudyFile
from medfl.system.ports import find_free_port

_NO_REASON = "If memory ran out, use fewer workers. The embedded engine (--engine embedded) says more."
_READY, _POLL, _GRACE = 30.0, 1.0, 8.0  # seconds


def run_ray(
    study_file: StudyFile,
    run_config: dict[str, Scalar],
    nodes: int,
    *,
    workers: int,
    threads: int,
    stop: threading.Event | None = None,
) -> None:
    """Run a study under Ray and wait for its end.

    Parameters
    ----------
    study_file : StudyFile
        Of the study.
    run_config : dict
        Flat run configuration that replaces that of the file.
    nodes : int
        Number of simulated hospitals.
    workers : int
        Hospitals that train at the same time.
    threads : int
        Threads of each hospital.
    stop : threading.Event, optional
        Set it in another thread to end the run as by Ctrl-C.

    Raises
    ------
    EngineError
        ``RAY-MISSING`` without the extra, ``RAY-START`` when the SuperLink does not start, ``RAY-FAILED`` when the run
        does not complete.
    """
    if shutil.which("flower-superlink", path=_search_path()) is None or not _has_ray():
        raise EngineError(
            "RAY-MISSING", "Ray is not installed.", "Run: pip install 'flwr-medfl[ray]', or use the embedded engine."
        )
    with tempfile.TemporaryDirectory(prefix="medfl-ray-") as scratch:
        home = Path(scratch)
        app = _write_app(study_file, run_config, home / "app")
        with _run_superlink(home) as environment:
            federation = (
                f"num-supernodes={nodes} client-resources-num-cpus={threads} client-resources-num-gpus=0.0 "
                f"init-args-num-cpus={workers * threads}"
            )
            submitted = _run_flwr(["run", str(app), "sim", "--format", "json", "--federation-config", federation], environment)
            _wait_for_end(str(submitted["run-id"]), environment, stop or threading.Event())


def _wait_for_end(run_id: str, environment: dict[str, str], stop: threading.Event) -> None:
    while True:
        runs = _run_flwr(["ls", "sim", "--run-id", run_id, "--format", "json"], environment)["runs"]
        status = str(runs[0]["status"])
        if status.startswith("finished"):
            break
        if stop.wait(_POLL):
            raise KeyboardInterrupt
    if status != "finished:completed":
        raise EngineError("RAY-FAILED", f"Flower ended the run as {status!r}.", _NO_REASON)


@contextmanager
def _run_superlink(home: Path) -> Iterator[dict[str, str]]:
    port = find_free_port()
    neutral = home / "empty"  # an empty working folder, as Ray's workers put it first on sys.path
    neutral.mkdir()
    (home / "flwr").mkdir()
    config = {"superlink": {"default": "sim", "sim": {"address": f"127.0.0.1:{port}", "insecure": True}}}
    (home / "flwr" / "config.toml").write_text(tomli_w.dumps(config))
    environment = os.environ | {"FLWR_HOME": str(home / "flwr"), "PATH": _search_path(), "RAY_USAGE_STATS_ENABLED": "0"}
    environment["RAY_TMPDIR"] = str(home)
    compat.disable_telemetry(environment)
    watched = ["flower-superlink", "--insecure", "--simulation", "--host", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, "-m", "medfl.system.parent_watch", *watched, "--disable-runtime-dependency-installation"]
    with (home / "superlink.log").open("w") as log:
        link = subprocess.Popen(command, cwd=neutral, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait_until_ready(link, port)
            yield environment
        finally:
            _terminate(link)


def _wait_until_ready(link: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + _READY
    while time.monotonic() < end and link.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise EngineError("RAY-START", "Flower's SuperLink did not start.", "Try again, or use the embedded engine.")


def _terminate(link: subprocess.Popen[bytes]) -> None:
    """End the SuperLink and all processes that it started: Ray's outlive those that started them."""
    try:
        family = [*psutil.Process(link.pid).children(recursive=True), psutil.Process(link.pid)]
    except psutil.NoSuchProcess:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(link.pid, signal.SIGTERM)
    _, alive = psutil.wait_procs(family, _GRACE)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, _GRACE)
    link.wait()


def _run_flwr(arguments: list[str], environment: dict[str, str]) -> dict[str, list[dict[str, str]]]:
    done = subprocess.run(["flwr", *arguments], env=environment, capture_output=True, text=True, check=False)
    try:
        answer: dict[str, list[dict[str, str]]] = json.loads(done.stdout)
    except json.JSONDecodeError:
        answer = {}
    if not answer.get("success"):
        raise EngineError(
            "RAY-FAILED", f"'flwr {arguments[0]}' failed.", "Use the embedded engine, or look at Flower's own log."
        )
    return answer


def _write_app(study_file: StudyFile, run_config: dict[str, Scalar], app: Path) -> Path:
    app.mkdir()
    (app / STUDY_FILE).write_text(tomli_w.dumps(study_file.document_with(run_config)))
    return app


def _search_path() -> str:
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def _has_ray() -> bool:
    return importlib.util.find_spec("ray") is not None
