"""Soak: a federation of three hospitals goes on through what networks, processes and disks do to it, and nobody stays away.

It lasts 15 minutes; ``MEDFL_SOAK_MINUTES`` sets another length.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from medfl.data.synthetic.hospitals import make_nodule_images
from medfl.deploy import control
from medfl.deploy.federation_folder import open_federation
from medfl.deploy.listening import is_taken
from medfl.deploy.presence import list_presence
from medfl.runs.history import Event
from medfl.runs.run_folder import run_status
from tests.deploy.local_server import needs_nginx, wait_for
from tests.deploy.loopback import Loopback, loopback, override_options
from tests.deploy.middle_box import MiddleBox, Mode, middle_box

pytestmark = [pytest.mark.slow, pytest.mark.long, needs_nginx]

_LOG = logging.getLogger(__name__)

MINUTES = float(os.environ.get("MEDFL_SOAK_MINUTES", "15"))
ROUNDS = 20
OVERRIDES = (f"rounds={ROUNDS}", "strategy.quorum=1", "strategy.deadline=60", "strategy.wait=90")
HALF_OPEN = 200  # connections of strangers that are held
_STILL = 10.0  # seconds that a fault of the network or of a disk lasts
_AGAIN = 240.0  # seconds after a fault within which all hospitals take part in a round again
_TO_THE_END = 600.0  # seconds that the last run may take


class Soak:
    """A federation in which runs follow each other while faults hit it.

    Parameters
    ----------
    federation : Loopback
        The federation, with all that it needs to run the study.
    boxes : dict of str to MiddleBox
        What stands between each hospital and the server.
    disks : dict of str to Path
        Small disks that can be filled: that of the server, and that of a hospital.
    """

    def __init__(self, federation: Loopback, study: Path, boxes: dict[str, MiddleBox], disks: dict[str, Path]) -> None:
        self.federation, self.study, self.boxes, self.disks = federation, study, boxes, disks
        self.folder = open_federation(federation.folder)
        self.runs, self.resumed = list[str](), 0

    def submit(self) -> None:
        """Start a run."""
        options = ("--federation", self.federation.folder, "--detach", *override_options(OVERRIDES))
        self.federation.medfl_here("run", self.study, *options)
        self.runs.append(self.federation.newest())

    def keep_running(self) -> None:
        """Resume the run when its process on the server is gone before its end; start the next when it is completed."""
        run = control.find(self.folder, self.runs[-1])
        if not control.has_died(run):
            return
        if run_status(run.events()) == "completed":
            self.submit()
        else:
            self.federation.medfl("resume", run.name, "--federation", self.federation.folder, "--detach")
            self.resumed += 1

    def await_everybody(self) -> None:
        """Wait until all hospitals have taken part in a round that began after now."""
        since, deadline = datetime.now(UTC), time.monotonic() + _AGAIN
        while not any(_has_everybody(event, since) for event in self._rounds()):
            assert time.monotonic() < deadline, f"not all take part again: {self._rounds()[-1:]}"
            self.keep_running()
            time.sleep(0.5)

    def finish(self) -> None:
        """Wait until the last run is completed."""
        deadline = time.monotonic() + _TO_THE_END
        while run_status((run := control.find(self.folder, self.runs[-1])).events()) != "completed":
            assert time.monotonic() < deadline, f"the last run does not end: {self._rounds()[-1:]}"
            if control.has_died(run):
                self.keep_running()
            time.sleep(0.5)

    def processes_of(self, mark: str) -> list[psutil.Process]:
        """Return the processes of the federation that have this in their command."""
        return [p for p in psutil.Process().children(recursive=True) if mark in _command_of(p)]

    def _rounds(self) -> list[Event]:
        return [event for name in self.runs[-2:] for event in self.federation.events(name) if event["event"] == "round"]


def _has_everybody(event: Event, since: datetime) -> bool:
    ended = datetime.fromisoformat(event["time"])
    began = ended.timestamp() - event["seconds"]
    return began > since.timestamp() and [e["status"] for e in event["sites"].values()] == ["ok"] * 3


def _command_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has just ended
        return ""


# The faults.


def middle_boxes_break(mode: Mode) -> Callable[[Soak], None]:
    def fault(soak: Soak) -> None:
        for box in soak.boxes.values():
            box.mode = mode
            box.drop_all()
        time.sleep(_STILL)
        for box in soak.boxes.values():
            box.mode = "pass"
            box.drop_all()

    fault.__name__ = f"middle boxes: {mode}"
    return fault


def one_is_cut_off(soak: Soak) -> None:
    box = soak.boxes["hospital-2"]
    box.mode = "shut"
    box.drop_all()
    time.sleep(3 * _STILL)
    box.mode = "pass"
    box.drop_all()


def strangers_hold_connections(soak: Soak) -> None:
    port = int(soak.folder.settings.proxy.listen.rpartition(":")[2])
    with ExitStack() as held:
        for _ in range(HALF_OPEN):
            with contextlib.suppress(OSError):  # the door is shut to them
                held.enter_context(socket.create_connection(("127.0.0.1", port), 5, ("127.0.0.2", 0)))
        soak.await_everybody()


def kill(mark: str) -> Callable[[Soak], None]:
    def fault(soak: Soak) -> None:
        found = soak.processes_of(mark)
        assert found, f"{mark} is not running"
        found[0].kill()

    fault.__name__ = f"kill {mark}"
    return fault


def the_server_is_killed(soak: Soak) -> None:
    soak.federation.kill_alone("server")
    wait_for(lambda: not is_taken(soak.folder.settings.proxy.listen))
    soak.federation.server_up()


def the_disk_is_full(name: str) -> Callable[[Soak], None]:
    def fault(soak: Soak) -> None:
        if name not in soak.disks:
            return  # none could be mounted here
        filler = soak.disks[name] / "filler"
        _fill(filler)
        time.sleep(_STILL)
        filler.unlink()

    fault.__name__ = f"full disk of {name}"
    return fault


FAULTS = (
    the_server_is_killed,
    the_disk_is_full("hospital-3"),
    the_disk_is_full("server"),
    middle_boxes_break("cut"),
    kill("medfl.deploy.supernode"),
    strangers_hold_connections,
    middle_boxes_break("shut"),
    kill("nginx: master"),
    kill("medfl.deploy.site_worker"),
    middle_boxes_break("silent"),
    one_is_cut_off,
)


def test_nobody_stays_away_whatever_networks_processes_and_disks_do(nodule_study: Path, tmp_path: Path) -> None:
    with ExitStack() as stack:
        disks = {name: stack.enter_context(_small_disk(path)) for name, path in _disk_places(tmp_path).items()}
        hospitals = _make_hospitals(tmp_path)
        with loopback(tmp_path, hospitals) as federation:
            federation.approve(nodule_study, *OVERRIDES, runs=100_000)
            boxes = _enter_middle_boxes(stack, federation)
            federation.server_up()
            federation.sites_up()
            soak = Soak(federation, nodule_study, boxes, {name: path for name, path in disks.items() if path is not None})
            _soak(soak)
            _require_complete_records(soak)
            online = list_presence(soak.folder)
            assert [presence.is_online for presence in online.values()] == [True] * 3
            logs = [*federation.runs.glob("*/*/audit.jsonl"), *(path / "audit.jsonl" for path in hospitals)]
            assert "are unchanged" in federation.medfl("audit", "verify", *logs).stdout
            listen, superlink = soak.folder.settings.proxy.listen, f"127.0.0.1:{soak.folder.settings.superlink.port}"
        left = [_command_of(p) for p in psutil.process_iter() if str(tmp_path) in _command_of(p)]
        assert left == []
        assert psutil.Process().children(recursive=True) == []
        assert [address for address in (listen, superlink) if is_taken(address)] == []


def _soak(soak: Soak) -> None:
    end = time.monotonic() + 60 * MINUTES
    soak.submit()
    soak.await_everybody()
    for number, fault in enumerate(itertools.cycle(FAULTS)):
        if time.monotonic() > end:
            break
        began = time.monotonic()
        fault(soak)
        soak.await_everybody()
        again = f"everybody again after {time.monotonic() - began:.0f} s"
        _LOG.warning(
            "%d: %s: %s; resumed %d times so far", number, fault.__name__, again, soak.resumed
        )  # told if the test fails
    soak.finish()


def _require_complete_records(soak: Soak) -> None:
    """Every run has all its rounds, in order, and each says of every hospital that it took part, or why it did not."""
    for name in soak.runs:
        events = soak.federation.events(name)
        assert run_status(events) == "completed", name
        rounds = [event for event in events if event["event"] == "round"]
        assert [event["round"] for event in rounds] == list(range(1, ROUNDS + 1)), name
        for event in rounds:
            assert sorted(event["sites"]) == ["hospital-1", "hospital-2", "hospital-3"], (name, event)
            assert all(site["status"] == "ok" or site["reason"] for site in event["sites"].values()), (name, event)


def _disk_places(root: Path) -> dict[str, Path]:
    return {"server": root / "federation", "hospital-3": root / "hospitals" / "hospital-3"}


def _make_hospitals(root: Path) -> list[Path]:
    made = make_nodule_images(root / "made", hospitals=3, patients=12, seed=1)
    shutil.copytree(made, root / "hospitals", dirs_exist_ok=True)
    return sorted(path.parent for path in (root / "hospitals").glob("*/site.toml"))


@contextmanager
def _small_disk(path: Path) -> Iterator[Path | None]:
    """Mount a disk of 64 MB there, if this machine and account can."""
    path.mkdir(parents=True)
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", path], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        yield None
        return
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def _fill(path: Path) -> None:
    """Write until the disk takes not one byte more."""
    with path.open("wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            with pytest.raises(OSError, match="No space left"):
                file.writelines(itertools.repeat(bytes(size)))


def _enter_middle_boxes(stack: ExitStack, federation: Loopback) -> dict[str, MiddleBox]:
    """Put a middle box between each hospital and the server."""
    listen = open_federation(federation.folder).settings.proxy.listen
    boxes = {}
    for name, path in federation.hospitals.items():
        box = boxes[name] = stack.enter_context(middle_box(int(listen.rpartition(":")[2])))
        settings = path / "site.toml"
        text = settings.read_text()
        assert listen in text
        settings.write_text(text.replace(listen, box.address))
    return boxes
