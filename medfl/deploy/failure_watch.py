"""Watch over the runs of a server: a command of the operator's is started when one fails, or its process dies."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

from medfl.deploy.federation_folder import FederationFolder
from medfl.errors import MedflError, code_in
from medfl.runs.history import HISTORY_FILE, read_history
from medfl.runs.run_folder import current_status

_FAILED = ("failed", "interrupted")


class FailureWatch:
    """Starts the command of ``monitor.on-failure`` once for each failure of a run.

    Parameters
    ----------
    folder : FederationFolder
        Folder of the server.
    notify : callable
        Gets a line for a person.
    """

    def __init__(self, folder: FederationFolder, notify: Callable[[str], None]) -> None:
        self._folder, self._notify = folder, notify
        self._looked: dict[Path, tuple[int, str, str]] = {}  # size of the history, status and code at the last look
        self._known = self._find_failures()  # those from before are no news
        self._started: list[subprocess.Popen[bytes]] = []

    def check(self) -> None:
        """Look for runs that failed since the last look."""
        self._started = [process for process in self._started if process.poll() is None]  # and leave no zombies
        failures = self._find_failures()
        for key in sorted(failures.keys() - self._known.keys()):
            study, run, _ = key
            status, code = failures[key]
            self._notify(f"The run {run} of {study} {'failed' if status == 'failed' else 'died'}: {code or 'no code'}.")
            self._start(study, run, status, code)
        self._known = failures

    def _start(self, study: str, run: str, status: str, code: str) -> None:
        command = shlex.split(self._folder.settings.monitor.on_failure)
        if not command:
            return
        about = {"MEDFL_STUDY": study, "MEDFL_RUN": run, "MEDFL_STATUS": status, "MEDFL_CODE": code}
        try:
            process = subprocess.Popen(
                command, env=os.environ | about, cwd=self._folder.path, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            self._notify(f"The command of monitor.on-failure cannot be started ({error.strerror}).")
            return
        self._started.append(process)

    def _find_failures(self) -> dict[tuple[str, str, int], tuple[str, str]]:
        """Return status and code of each run that failed, by study, run, and the size of its history: it may fail again."""
        found = {}
        for file in self._folder.runs.glob(f"*/*/{HISTORY_FILE}"):
            try:
                size = file.stat().st_size
                known_size, status, code = self._looked.get(file, (-1, "running", ""))
                if size != known_size or status == "running":  # only a process that dies leaves its history as it was
                    events = read_history(file.parent)
                    status = current_status(file.parent, events)
                    code = code_in(str(events[-1].get("reason", ""))) if events else ""
                    self._looked[file] = size, status, code
            except (MedflError, OSError):  # removed meanwhile, or damaged, which hides no other run and ends no server
                continue
            if status in _FAILED:
                found[file.parent.parent.name, file.parent.name, size] = status, code
        return found
