"""Keeping a few processes running: started in order, started again when one ends, all ended together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from medfl.deploy.logs import appending, last_line, trim
from medfl.errors import DeployError

_LOOK = 0.2  # seconds
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GRACE = 10.0  # seconds from SIGTERM to SIGKILL


@dataclass(frozen=True)
class Child:
    """One process that is to run.

    Parameters
    ----------
    name : str
        For the person who reads what happens.
    command : sequence of str
        Program and arguments.
    env : mapping of str to str
        Its whole environment.
    cwd : Path
        Its working folder.
    log : Path
        File that gets its output, for the owner alone.
    delay : float
        Seconds before it is started again after it ended.
    expected : tuple of int
        Exit codes after which it is started again at once, without a word.
    is_ready : callable
        Tells whether it does its work; the next process is started when it does.
    patience : float
        Seconds to wait for that.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    log: Path
    delay: float = 5.0
    expected: tuple[int, ...] = ()
    is_ready: Callable[[], bool] = field(default=lambda: True)
    patience: float = 60.0


class _Running:
    """A child as it runs, or waits to be started again."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.process: subprocess.Popen[bytes] | None = None
        self.due = 0.0

    def start(self) -> None:
        child = self.child
        with appending(child.log) as log:
            self.process = subprocess.Popen(
                child.command, env=dict(child.env), cwd=child.cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def look(self, tell: Callable[[str], None]) -> None:
        """Start the process again when it is time to."""
        if self.process is not None and self.process.poll() is not None:
            code = self.process.returncode
            _signal(self.process.pid, signal.SIGKILL)  # what it started must not hold its port
            self.process = None
            expected = code in self.child.expected
            self.due = time.monotonic() + (0.0 if expected else self.child.delay)
            if not expected:
                said = f" Its last word: {word}" if (word := last_line(self.child.log)) else ""
                again = f"it is started again in {self.child.delay:g} seconds. Its log: {self.child.log}"
                tell(f"{self.child.name} ended with code {code}; {again}{said}")
        if self.process is None and time.monotonic() >= self.due:
            try:
                self.start()
            except OSError as error:  # the disk is full, or the program is just being installed anew
                self.due = time.monotonic() + self.child.delay
                tell(f"{self.child.name} can not be started ({error.strerror}); tried again in {self.child.delay:g} seconds.")

    def end(self) -> None:
        """End the process and whatever it started; each may finish what it does, for a while."""
        if self.process is None:
            return
        group, end = self.process.pid, time.monotonic() + _GRACE
        _signal(group, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_GRACE)
        while _lives(group) and time.monotonic() < end:
            time.sleep(_LOOK)
        _signal(group, signal.SIGKILL)
        self.process.wait()


def supervise(
    children: Sequence[Child],
    tell: Callable[[str], None],
    ready: Callable[[], None] = lambda: None,
    tick: Callable[[], None] = lambda: None,
    every: float = 10.0,
) -> int:
    """Start processes in order, keep them running until Ctrl-C, SIGTERM or SIGHUP, then end them in the opposite order.

    Parameters
    ----------
    children : sequence of Child
        What is to run.
    tell : callable
        Gets a line for a person when something happens.
    ready : callable
        Called once, when all are up.
    tick : callable
        Called now and then while they run, in a thread of its own, once at a time; it must not raise.
    every : float
        Seconds between its calls.

    Returns
    -------
    int
        0, after it was asked to end.

    Raises
    ------
    DeployError
        ``NOT-STARTED`` when a process does not come up; those before it are ended.
    """
    running = [_Running(child) for child in children]
    with _asked_to_end() as ending:
        try:
            for one in running:
                one.start()
                _wait_until_ready(one, ending)
            if not ending.is_set():
                ready()
            _keep(running, ending, tell, tick, every)
        finally:
            for one in reversed(running):
                one.end()
    return 0


def _keep(
    running: Sequence[_Running], ending: threading.Event, tell: Callable[[str], None], tick: Callable[[], None], every: float
) -> None:
    due, ticking = time.monotonic() + every, threading.Thread()
    while not ending.wait(_LOOK):
        for one in running:
            one.look(tell)
        if time.monotonic() >= due and not ticking.is_alive():
            ticking = threading.Thread(target=tick, daemon=True)  # it may take long, and nothing here waits for it
            ticking.start()
            for one in running:
                trim(one.child.log)
            due = time.monotonic() + every


def _wait_until_ready(one: _Running, ending: threading.Event) -> None:
    end = time.monotonic() + one.child.patience
    while not ending.is_set():
        gone = one.process is None or one.process.poll() is not None
        if not gone and one.child.is_ready():
            return
        if gone or time.monotonic() >= end:
            what = "ended at once" if gone else f"did not come up within {one.child.patience:g} seconds"
            raise DeployError("NOT-STARTED", f"{one.child.name} {what}.", f"Its log tells why: {one.child.log}")
        time.sleep(_LOOK)


@contextmanager
def _asked_to_end() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C, SIGTERM and a closed terminal set, instead of what they do otherwise."""
    ending = threading.Event()
    before = {sort: signal.getsignal(sort) for sort in _ENDS}
    mine = [sort for sort, handler in before.items() if handler is not signal.SIG_IGN]  # nohup ignores SIGHUP on purpose
    try:
        for sort in mine:
            signal.signal(sort, lambda *_: ending.set())
        yield ending
    finally:
        for sort in mine:
            signal.signal(sort, before[sort])


def _signal(group: int, sort: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, sort)


def _lives(group: int) -> bool:
    """Tell whether a process of a group still runs; those that only wait for their parent's notice do not count."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False
