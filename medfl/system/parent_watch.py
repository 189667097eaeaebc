"""A process that ends when the one that started it is gone, even by SIGKILL.

As a program, ``python -m medfl.system.parent_watch COMMAND...`` does that for a command that knows nothing of it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

_POLL_SECONDS = 0.5  # seconds


def die_with_parent() -> None:
    """End this process at once when its parent process has died; looks every half second, in the background."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="lifeline").start()


def run_command(command: list[str]) -> int:
    """Run a command in the process group of this process, and kill the group when the parent dies.

    Signals come to the group, so none is handed on: Flower's programs take a second one for impatience.

    Parameters
    ----------
    command : list of str
        Program and arguments.

    Returns
    -------
    int
        Its exit code; 128 more than the signal that ended it, as a shell tells.
    """
    parent = os.getppid()
    for sort in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sort, lambda *_: None)  # a handler is not inherited, as ignoring would be
    process = subprocess.Popen(command)
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(_POLL_SECONDS)
            return code if code >= 0 else 128 - code
        if os.getppid() != parent:
            os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(run_command(sys.argv[1:]))
