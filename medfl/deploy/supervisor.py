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

from medfl.deploy.logs import open_for_append, read_last_line, rotate
from medfl.errors import DeployError

_POLL_SECONDS = 0.2  # seconds
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
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
    restart_delay : float
        Seconds before it is started again after it ended.
    expected_exit_codes : tuple of int
        Exit codes after which it is started again at once, without a word.
    is_ready : callable
        Tells whether it does its work; the next process is started when it does.
    startup_timeout : float
        Seconds to wait for that.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    log: Path
    restart_delay: float = 5.0
    expected_exit_codes: tuple[int, ...] = ()
    is_ready: Callable[[], bool] = field(default=lambda: True)
    startup_timeout: float = 60.0


class _RunningChild:
    """A child as it runs, or waits to be started again."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.process: subprocess.Popen[bytes] | None = None
        self.restart_at = 0.0

    def start(self) -> None:
        child = self.child
        with open_for_append(child.log) as log:
            self.process = subprocess.Popen(
                child.command, env=dict(child.env), cwd=child.cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def restart_if_ended(self, tell: Callable[[str], None]) -> None:
        """Start the process again when it is time to."""
        if self.process is not None and self.process.poll() is not None:
            code = self.process.returncode
            _signal_group(self.process.pid, signal.SIGKILL)  # what it started must not hold its port
            self.process = None
            expected = code in self.child.expected_exit_codes
            self.restart_at = time.monotonic() + (0.0 if expected else self.child.restart_delay)
            if not expected:
                said = f" Its last word: {word}" if (word := read_last_line(self.child.log)) else ""
                again = f"it is started again in {self.child.restart_delay:g} seconds. Its log: {self.child.log}"
                tell(f"{self.child.name} ended with code {code}; {again}{said}")
        if self.process is None and time.monotonic() >= self.restart_at:
            try:
                self.start()
            except OSError as error:  # the disk is full, or the program is just being installed anew
                self.restart_at = time.monotonic() + self.child.restart_delay
                tell(
                    f"{self.child.name} cannot be started ({error.strerror}); tried again in {self.child.restart_delay:g} seconds."
                )

    def stop(self) -> None:
        """End the process and whatever it started; each may finish what it does, for a while."""
        if self.process is None:
            return
        group, end = self.process.pid, time.monotonic() + _GRACE
        _signal_group(group, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_GRACE)
        while _is_group_alive(group) and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)
        _signal_group(group, signal.SIGKILL)
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
    running = [_RunningChild(child) for child in children]
    with _catch_stop_signals() as ending:
        try:
            for one in running:
                one.start()
                _wait_until_ready(one, ending)
            if not ending.is_set():
                ready()
            _keep_running(running, ending, tell, tick, every)
        finally:
            for one in reversed(running):
                one.stop()
    return 0


def _keep_running(
    running: Sequence[_RunningChild],
    ending: threading.Event,
    tell: Callable[[str], None],
    tick: Callable[[], None],
    every: float,
) -> None:
    due, ticking = time.monotonic() + every, threading.Thread()
    while not ending.wait(_POLL_SECONDS):
        for one in running:
            one.restart_if_ended(tell)
        if time.monotonic() >= due and not ticking.is_alive():
            ticking = threading.Thread(target=tick, daemon=True)  # it may take long, and nothing here waits for it
            ticking.start()
            for one in running:
                rotate(one.child.log)
            due = time.monotonic() + every


def _wait_until_ready(one: _RunningChild, ending: threading.Event) -> None:
    end = time.monotonic() + one.child.startup_timeout
    while not ending.is_set():
        gone = one.process is None or one.process.poll() is not None
        if not gone and one.child.is_ready():
            return
        if gone or time.monotonic() >= end:
            what = "ended at once" if gone else f"did not come up within {one.child.startup_timeout:g} seconds"
            raise DeployError("NOT-STARTED", f"{one.child.name} {what}.", f"Its log tells why: {one.child.log}")
        time.sleep(_POLL_SECONDS)


@contextmanager
def _catch_stop_signals() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C, SIGTERM and a closed terminal set, instead of what they do otherwise."""
    ending = threading.Event()
    before = {sort: signal.getsignal(sort) for sort in _STOP_SIGNALS}
    mine = [sort for sort, handler in before.items() if handler is not signal.SIG_IGN]  # nohup ignores SIGHUP on purpose
    try:
        for sort in mine:
            signal.signal(sort, lambda *_: ending.set())
        yield ending
    finally:
        for sort in mine:
            signal.signal(sort, before[sort])


def _signal_group(group: int, sort: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, sort)


def _is_group_alive(group: int) -> bool:
    """Tell whether a process of a group still runs; those that only wait for their parent's notice do not count."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False
