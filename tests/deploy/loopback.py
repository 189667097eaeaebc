"""Whole federation on loopback, run with medfl's own commands: a server behind nginx, and hospitals."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
from typer.testing import CliRunner

from medfl.cli.app import app
from medfl.runs.history import Event, read_history
from medfl.system.ports import find_free_port
from tests.deploy.local_server import wait_for

FAULTS = Path(__file__).parent / "faults"
_TOLD_LINES = 40  # of each log when a test fails


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

    def medfl_here(self, *words: object) -> None:
        """Run a command in this process, which saves the start of one: for what comes before the test's own subject."""
        environment: dict[str, str | None] = {**self._environment(""), "MEDFL_SIMULATION": None}
        done = CliRunner().invoke(app, [*map(str, words)], env=environment)
        if done.exit_code:
            raise AssertionError(f"{' '.join(map(str, words))} ended with {done.exit_code}:\n{done.output}\n{done.exception!r}")

    def provision(self) -> None:
        """Create the federation, and enrol every hospital."""
        address = f"127.0.0.1:{find_free_port()}"
        self.medfl_here("server", "init", self.folder, "--name", "loopback", "--address", address, "--listen", address)
        for name, path in self.hospitals.items():
            self.medfl_here("site", "init", name, "--folder", path)
            self.medfl_here("server", "enrol", path / f"{name}.request.json", "--federation", self.folder, "--yes")
            self.medfl_here("site", "join", self.folder / "kits" / f"{name}.zip", "--folder", path, "--yes")

    def approve(self, study: Path, *overrides: str, runs: int = 3) -> None:
        """Let every hospital approve a study, with overrides (``rounds=2``), for a number of runs."""
        self.medfl_here("study", "bundle", study, "--out", self.root, *override_options(overrides))
        for path in self.hospitals.values():
            self.medfl_here("site", "approve", self.root / f"{study.name}.fab", "--site", path, "--yes", "--runs", runs)

    def server_up(self, fault: str = "") -> None:
        """Start the server, and wait until it reports that it is up."""
        self._start("server", "server", "up", self.folder, fault=fault)
        self._wait_until_up("server", lambda: "is up" in self.output("server"))

    def sites_up(self, *names: str, fault: str = "", at: str = "", seconds: float = 0.0) -> None:
        """Start hospitals, all unless named, and wait until their workers are ready; the fault hits all or is at one."""
        logs = {name: self.hospitals[name] / ".medfl" / "logs" / "worker.log" for name in names or self.hospitals}
        before = {name: _count_starts(log) for name, log in logs.items()}
        for name in logs:
            own_fault = fault if at in ("", name) else ""
            self._start(name, "site", "up", self.hospitals[name], fault=own_fault, seconds=seconds)
        for name, log in logs.items():
            self._wait_until_up(name, partial(_has_started, log, before[name]))

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

    def kill_alone(self, name: str) -> None:
        """Kill the process of a command alone with SIGKILL, and wait until all that it had started have ended, too."""
        process = self._processes.pop(name)
        below = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        assert psutil.wait_procs(below, timeout=60)[1] == []

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

    def tell_failure(self) -> str:
        """Return the last lines of what every process has printed or logged."""
        files = [*self.root.glob("*.out"), *self.folder.glob("logs/*.log"), *self.folder.glob("runs/*/*/history.jsonl")]
        files += [log for path in self.hospitals.values() for log in path.glob(".medfl/logs/*.log")]
        tails = {path: path.read_text(errors="replace").splitlines()[-_TOLD_LINES:] for path in files}
        return "\n".join(f"--- {path.relative_to(self.root)}\n" + "\n".join(lines) for path, lines in tails.items())

    def _wait_until_up(self, name: str, is_up: Callable[[], bool]) -> None:
        wait_for(lambda: is_up() or self._processes[name].poll() is not None)
        assert self._processes[name].poll() is None, f"{name} has ended:\n{self.output(name)}"

    def _start(self, name: str, *words: object, fault: str = "", seconds: float = 0.0) -> None:
        command = [sys.executable, "-m", "medfl", *map(str, words)]
        environment = self._environment(fault) | {"MEDFL_FAULT_SECONDS": str(seconds)}
        with (self.root / f"{name}.out").open("wb") as out:
            self._processes[name] = subprocess.Popen(command, cwd=self.root, env=environment, stdout=out, stderr=out)

    def _environment(self, fault: str) -> dict[str, str]:
        environment = {key: value for key, value in os.environ.items() if key not in ("MEDFL_SIMULATION", "MEDFL_FAULT")}
        environment |= {"MEDFL_STORE": str(self.root / "store"), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        paths = [str(FAULTS), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment |= {"PYTHONPATH": os.pathsep.join(paths)} | ({"MEDFL_FAULT": fault} if fault else {})
        return environment


@contextmanager
def loopback(root: Path, hospitals: Sequence[Path]) -> Iterator[Loopback]:
    """Create a federation on loopback, and stop all its processes at the end."""
    federation = Loopback(root, hospitals)
    federation.provision()
    try:
        yield federation
    except Exception as error:
        error.add_note(federation.tell_failure())
        raise
    finally:
        federation.end()


def _count_starts(log: Path) -> int:
    return log.read_text().count("is ready") if log.exists() else 0


def _has_started(log: Path, before: int) -> bool:
    return _count_starts(log) > before


def override_options(overrides: Sequence[str]) -> list[str]:
    """Return the options that override values of a study on the command line."""
    return [word for override in overrides for word in ("-c", override)]
