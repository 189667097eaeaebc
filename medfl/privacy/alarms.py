"""What a hospital does when a received model does not move as training moves it: its log, and a command of its own."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence

from medfl.privacy.model_path import Alarm
from medfl.site import Site

MODEL_PATH = "MODEL-PATH"
THREAD = "medfl-on-alarm"  # name of the threads that wait for commands
_TIMEOUT_SECONDS = 30.0  # of the command
_SHOWN = 20  # alarms of one message in the log: a crafted model raises one for every tensor
_log = logging.getLogger(__name__)


def report_alarms(
    site: Site, study: str, run: str, question: str, alarms: Sequence[Alarm], note: Callable[[str], None]
) -> None:
    """Write the alarms of a message into the site's log and its outbox, and start the command of its policy once.

    Parameters
    ----------
    site : Site
        The hospital.
    study, run : str
        Names of the study and of the run; the caller has checked that they are plain names.
    question : str
        What was asked, in words.
    alarms : sequence of Alarm
        What was found; nothing happens without any.
    note : callable
        Called with the alarms in words, for the outbox.
    """
    if not alarms:
        return
    what = [str(alarm) for alarm in alarms[:_SHOWN]]
    if len(alarms) > _SHOWN:
        what.append(f"{len(alarms) - _SHOWN} further figures")
    for line in what:
        _log.warning("[%s] study %s, run %s, %s: %s.", MODEL_PATH, study, run, question, line)
    note("; ".join(what))
    if site.policy.on_alarm:
        _start_command(site.policy.on_alarm, (MODEL_PATH, study, run))


def _start_command(command: str, about: Sequence[str]) -> None:
    """Start a command without a shell, for which no answer waits: how long it takes, the server would see.

    What it prints goes nowhere. A thread waits for its end, logs when it fails, and ends it when it takes too long. A command
    that cannot be started is logged, whatever the reason: the server must not see from an answer that there was an alarm.
    """
    try:
        words = shlex.split(command)
        if not words:
            raise ValueError("the command is empty")
        process = subprocess.Popen(
            [*words, *about],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        threading.Thread(target=_await_end, args=(process,), name=THREAD, daemon=True).start()
    except (OSError, ValueError, RuntimeError, MemoryError) as error:  # a missing quotation mark; no thread to be had
        _log.error("[%s] 'policy.on-alarm' cannot be started: %s (medfl doctor).", MODEL_PATH, type(error).__name__)


def _await_end(process: subprocess.Popen[bytes]) -> None:
    try:
        code = process.wait(_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        _log.error("[%s] 'policy.on-alarm' was ended: it needed more than %.0f seconds.", MODEL_PATH, _TIMEOUT_SECONDS)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    else:
        if code:
            _log.error("[%s] 'policy.on-alarm' ended with the status %d.", MODEL_PATH, code)
