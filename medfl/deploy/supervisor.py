"""Supervisor of a few processes: started in order, restarted when one ends, all stopped together."""

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

from medfl.deploy.logs import open_for_append, read_last_words, rotate
from medfl.deploy.pulse import Pulse, PulseWatch
from medfl.errors import DeployError

_POLL_SECONDS = 0.2
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GRACE = 10.0  # seconds from SIGTERM to SIGKILL


@dataclass(frozen=True)
class Child:
    """A process to keep running.

    Parameters
    ----------
    name : str
        Name in the lines for a person.
    command : sequence of str
        Program and arguments.
    env : mapping of str to str
        Its whole environment.
    cwd : Path
        Its working folder.
    log : Path
        File that gets its output, readable by the owner alone.
    restart_delay : float
        Seconds from its end to its restart.
    expected_exit_codes : tuple of int
        Exit codes after which it is restarted at once, without a line.
    is_ready : callable
        Returns whether it is up; only then the next process is started.
    startup_timeout : float
        Seconds to wait until it is up.
    pulse : Pulse, optional
        How its sign of life is read, if it leaves one.
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
    pulse: Pulse | None = None


class _RunningChild:
    """A child that is running, or waiting to be restarted."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.process: subprocess.Popen[bytes] | None = None
        self.restart_at = 0.0
        self._watch = PulseWatch(child.pulse) if child.pulse is not None else None

    def start(self) -> None:
        child = self.child
        with open_for_append(child.log) as log:
            self.process = subprocess.Popen(
                child.command, env=dict(child.env), cwd=child.cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        if self._watch is not None:
            self._watch.begin()

    def restart_if_silent(self, notify: Callable[[str], None]) -> None:
        """Say when the sign of life is missing or there again; end a process that was silent for long, for a restart."""
        if self._watch is None or self.process is None:
            return
        for line in self._watch.describe_changes(read_last_words(self.child.log)):
            notify(line)
        if self._watch.is_lost():
            notify(f"{self.child.name} is ended, and started anew: it has been silent for too long.")
            self.stop()
            self.process, self.restart_at = None, time.monotonic() + self.child.restart_delay

    def restart_if_ended(self, notify: Callable[[str], None]) -> None:
        """Restart the process if it has ended and its delay is over."""
        child = self.child
        if self.process is not None and self.process.poll() is not None:
            code = self.process.returncode
            _signal_group(self.process.pid, signal.SIGKILL)  # processes that it started must not hold its port
            self.process = None
            is_expected = code in child.expected_exit_codes
            self.restart_at = time.monotonic() + (0.0 if is_expected else child.restart_delay)
            if not is_expected:
                last_words = read_last_words(child.log)
                said = f" It says: {last_words}" if last_words else ""
                restart = f"it is restarted in {child.restart_delay:g} seconds. Its log: {child.log}"
                notify(f"{child.name} ended with code {code}; {restart}{said}")
        if self.process is None and time.monotonic() >= self.restart_at:
            try:
                self.start()
            except OSError as error:  # the disk is full, or the program is just being reinstalled
                self.restart_at = time.monotonic() + child.restart_delay
                notify(f"{child.name} cannot be started ({error.strerror}); next attempt in {child.restart_delay:g} seconds.")

    def stop(self) -> None:
        """End the process and whatever it started; each gets a while to finish."""
        if self.process is None:
            return
        group, deadline = self.process.pid, time.monotonic() + _GRACE
        _signal_group(group, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_GRACE)
        while _is_group_alive(group) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        _signal_group(group, signal.SIGKILL)
        self.process.wait()


def supervise(
    children: Sequence[Child],
    notify: Callable[[str], None],
    on_ready: Callable[[], None] = lambda: None,
    on_tick: Callable[[], None] = lambda: None,
    every: float = 10.0,
) -> int:
    """Start processes in order, keep them running until Ctrl-C, SIGTERM or SIGHUP, then stop them in reverse order.

    Parameters
    ----------
    children : sequence of Child
        Processes to run.
    notify : callable
        Gets a line for a person when something happens.
    on_ready : callable
        Called once, when all are up.
    on_tick : callable
        Called periodically while they run, in a thread of its own, never twice at the same time; it must not raise.
    every : float
        Seconds between the calls of `on_tick`.

    Returns
    -------
    int
        0, after it was asked to end.

    Raises
    ------
    DeployError
        ``NOT-STARTED`` when a process does not come up; those before it are stopped.
    """
    running = [_RunningChild(child) for child in children]
    with _catch_stop_signals() as ending:
        try:
            for one in running:
                one.start()
                _wait_until_ready(one, ending)
            if not ending.is_set():
                on_ready()
            _keep_running(running, ending, notify, on_tick, every)
        finally:
            for one in reversed(running):
                one.stop()
    return 0


def _keep_running(
    running: Sequence[_RunningChild],
    ending: threading.Event,
    notify: Callable[[str], None],
    on_tick: Callable[[], None],
    every: float,
) -> None:
    due, tick_thread = time.monotonic() + every, threading.Thread()
    while not ending.wait(_POLL_SECONDS):
        for one in running:
            one.restart_if_ended(notify)
        if time.monotonic() >= due and not tick_thread.is_alive():
            tick_thread = threading.Thread(target=on_tick, daemon=True)  # may take long, and nothing here waits for it
            tick_thread.start()
            for one in running:
                rotate(one.child.log)
                one.restart_if_silent(notify)
            due = time.monotonic() + every


def _wait_until_ready(one: _RunningChild, ending: threading.Event) -> None:
    deadline = time.monotonic() + one.child.startup_timeout
    while not ending.is_set():
        has_ended = one.process is None or one.process.poll() is not None
        if not has_ended and one.child.is_ready():
            return
        if has_ended or time.monotonic() >= deadline:
            failure = "ended at once" if has_ended else f"did not come up within {one.child.startup_timeout:g} seconds"
            raise DeployError("NOT-STARTED", f"{one.child.name} {failure}.", f"Its log says why: {one.child.log}")
        time.sleep(_POLL_SECONDS)


@contextmanager
def _catch_stop_signals() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C, SIGTERM and a closed terminal set, instead of their usual effect."""
    ending = threading.Event()
    handlers = {number: signal.getsignal(number) for number in _STOP_SIGNALS}
    caught = [number for number, handler in handlers.items() if handler is not signal.SIG_IGN]  # nohup ignores SIGHUP
    try:
        for number in caught:
            signal.signal(number, lambda *_: ending.set())
        yield ending
    finally:
        for number in caught:
            signal.signal(number, handlers[number])


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _is_group_alive(group: int) -> bool:
    """Return whether a process of a group is still running; zombies do not count."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False
