"""Whole federation on loopback, run with medfl's own commands: a server behind nginx, and hospitals."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from medfl.runs.history import Event, read_history
from medfl.system.ports import find_free_port
from tests.deploy.local_server import wait_for

FAULTS = Path(__file__).parent / "faults"


class Loopback:
    """A federation on this machine.

    Parameters
    ----------
    root : Path
        Folder of the server; prepared data goes there, too.
    hospitals : sequence of Path
        Folders with a ``site.toml`` each.
    """

    def __init__(self, root: Path, hospitals: Sequence[Path]) -> None:
        self.root, self.hospitals = root, {path.name: path for path in hospitals}
        self.folder = root / "federation"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def runs(self) -> Path:
        """Folder of the run folders."""
        return self.folder / "runs"

    def medfl(self, *words: object, check: bool = True, fault: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command and wait for its end."""
        command = [sys.executable, "-m", "medfl", *map(str, words)]
        done = subprocess.run(
            command, cwd=self.root, env=self._environment(fault), capture_output=True, text=True, check=False, timeout=400
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(map(str, words))} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def provision(self) -> None:
        """Create the federation, and enrol every hospital."""
        address = f"127.0.0.1:{find_free_port()}"
        self.medfl("server", "init", self.folder, "--name", "loopback", "--address", address, "--listen", address)
        for name, path in self.hospitals.items():
            self.medfl("site", "init", name, "--folder", path)
            self.medfl("server", "enrol", path / f"{name}.request.json", "--federation", self.folder, "--yes")
            self.medfl("site", "join", self.folder / "kits" / f"{name}.zip", "--folder", path, "--yes")

    def approve(self, study: Path, *overrides: str) -> None:
        """Let every hospital approve a study, with overrides (``rounds=2``)."""
        self.medfl("study", "bundle", study, "--out", self.root, *override_options(overrides))
        for path in self.hospitals.values():
            self.medfl("site", "approve", self.root / f"{study.name}.fab", "--site", path, "--yes")

    def server_up(self, fault: str = "") -> None:
        """Start the server, and wait until it reports that it is up."""
        self._start("server", "server", "up", self.folder, fault=fault)
        wait_for(lambda: "is up" in self.output("server"))

    def site_up(self, name: str, fault: str = "", seconds: float = 0.0) -> None:
        """Start a hospital, and wait until its worker is ready."""
        log = self.hospitals[name] / ".medfl" / "logs" / "worker.log"
        before = log.read_text().count("is ready") if log.exists() else 0
        self._start(name, "site", "up", self.hospitals[name], fault=fault, seconds=seconds)
        wait_for(lambda: log.exists() and log.read_text().count("is ready") > before)

    def sites_up(self) -> None:
        """Start all hospitals."""
        for name in self.hospitals:
            self.site_up(name)

    def output(self, name: str) -> str:
        """Return the output of a server or a hospital so far."""
        path = self.root / f"{name}.out"
        return path.read_text() if path.exists() else ""

    def kill(self, name: str) -> None:
        """Kill every process of a server or a hospital with SIGKILL, as a power cut would."""
        process = self._processes.pop(name)
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.send_signal(signal.SIGKILL)
        process.wait()
        psutil.wait_procs(family, 10)

    def end(self) -> None:
        """Stop everything, as Ctrl-C would."""
        for process in self._processes.values():
            process.send_signal(signal.SIGINT)
        for process in self._processes.values():
            process.wait(60)
        self._processes.clear()

    def events(self, run: str) -> list[Event]:
        """Return the history of a run."""
        return [event for path in self.runs.glob(f"*/{run}") for event in read_history(path)]

    def newest(self) -> str:
        """Return the name of the newest run that was submitted."""
        return max(path.parent.name for path in (self.folder / "submitted").glob("*/flower.json"))

    def status(self, run: str) -> str:
        """Return Flower's status of a run."""
        return str(json.loads(self.medfl("status", run, "--federation", self.folder, "--json").stdout)["status"])

    def _start(self, name: str, *words: object, fault: str = "", seconds: float = 0.0) -> None:
        command = [sys.executable, "-m", "medfl", *map(str, words)]
        environment = self._environment(fault) | {"MEDFL_FAULT_SECONDS": str(seconds)}
        with (self.root / f"{name}.out").open("wb") as out:
            self._processes[name] = subprocess.Popen(command, cwd=self.root, env=environment, stdout=out, stderr=out)

    def _environment(self, fault: str) -> dict[str, str]:
        environment = {key: value for key, value in os.environ.items() if key not in ("MEDFL_SIMULATION", "MEDFL_FAULT")}
        environment |= {"MEDFL_STORE": str(self.root / "store"), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        if fault:
            paths = [str(FAULTS), *filter(None, [os.environ.get("PYTHONPATH")])]
            environment |= {"MEDFL_FAULT": fault, "PYTHONPATH": os.pathsep.join(paths)}
        return environment


@contextmanager
def loopback(root: Path, hospitals: Sequence[Path]) -> Iterator[Loopback]:
    """Create a federation on loopback, and stop all its processes at the end."""
    federation = Loopback(root, hospitals)
    federation.provision()
    try:
        yield federation
    finally:
        federation.end()


def override_options(overrides: Sequence[str]) -> list[str]:
    """Return the options that override values of a study on the command line."""
    return [word for override in overrides for word in ("-c", override)]
