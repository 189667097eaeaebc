"""Checks of the commands that a site or a server starts when something is wrong: one that is missing is missed too late."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

from medfl.deploy.doctor.check_result import CheckResult


def check_command(setting: str, command: str, folder: Path | None = None) -> Iterator[CheckResult]:
    """Check that a command can be started; nothing is yielded where none is set.

    Parameters
    ----------
    setting : str
        Name of the setting, as a person finds it.
    command : str
        The command with its arguments, as in a shell.
    folder : Path, optional
        Folder in which it is started; None when that is not fixed, so that only a whole path is certain.
    """
    if not command:
        return
    problem = _find_problem(command, folder)
    if problem is None:
        yield CheckResult("COMMAND", "ok", f"The command of '{setting}' can be started.")
        return
    fix = f"Correct '{setting}': the whole path of a file that this account may execute, and its arguments."
    yield CheckResult("COMMAND", "error", f"The command of '{setting}' cannot be started: {problem}.", fix)


def _find_problem(command: str, folder: Path | None) -> str | None:
    try:
        words = shlex.split(command)
    except ValueError:
        return "a quotation mark is missing"
    if not words:
        return "it is empty"
    program = words[0]
    if os.sep not in program:
        return None if shutil.which(program) else "there is no such program"
    if folder is None and not Path(program).is_absolute():
        return "its path does not begin with /"
    path = (folder or Path()) / program
    if not path.is_file():
        return "there is no such file"
    return None if os.access(path, os.X_OK) else "this account may not execute the file"
