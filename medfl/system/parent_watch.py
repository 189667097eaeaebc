"""Watch over the parent process: a process ends when the one that started it is gone, even by SIGKILL.

As a program, ``python -m medfl.system.parent_watch COMMAND...`` watches on behalf of a command that does not do so itself.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

_POLL_SECONDS = 0.5  # seconds


def die_with_parent() -> None:
    """End this process at once, from a thread in the background, when its parent process has died.

    A process of `multiprocessing` may be the child of a server that forks processes; it has a pipe to the process that started
    it, which is watched instead. Every other process looks twice a second whether it still has the same parent.
    """
    starter = multiprocessing.parent_process()
    parent = os.getppid()

    def watch() -> None:
        if starter is not None:
            starter.join()
        while starter is None and os.getppid() == parent:
            time.sleep(_POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent watch").start()


def run_command(command: list[str]) -> int:
    """Run a command in the process group of this process; when the parent dies, kill the group and all that descend from it.

    Signals reach the whole group, so none is passed on: a second one makes Flower's programs end without cleaning up.

    Parameters
    ----------
    command : list of str
        Program and arguments.

    Returns
    -------
    int
        Its exit code; if a signal ended it, 128 more than the signal, as in a shell.
    """
    parent = os.getppid()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # the command does not inherit a handler, but would inherit that it is ignored
    process = subprocess.Popen(command)
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(_POLL_SECONDS)
            return code if code >= 0 else 128 - code
        if os.getppid() != parent:
            _kill_descendants()  # those in sessions of their own, too
            os.killpg(0, signal.SIGKILL)


def _kill_descendants() -> None:
    import psutil

    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.kill()


if __name__ == "__main__":
    sys.exit(run_command(sys.argv[1:]))
