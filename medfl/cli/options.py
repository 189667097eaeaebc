"""Options that several commands share, and how they are read."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from medfl.study.study_file import Scalar

DataOption = Annotated[
    list[Path] | None, typer.Option("--data", help="Folder with the hospitals' data; may be given several times.")
]
OutOption = Annotated[Path, typer.Option("--out", help="Folder under which the run's folder is made.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", "-c", help="Another value for a key of the study, such as rounds=5 or optimizer.name='sgd'."),
]
WorkersOption = Annotated[
    int, typer.Option("--workers", min=0, help="Hospitals that work at once; 0: as many as the cores allow.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def parse_overrides(changes: Sequence[str] | None) -> dict[str, Scalar]:
    """Read words of the form `key=value`; a value that is not TOML is taken as text.

    Examples
    --------
    >>> parse_overrides(["rounds=5", "optimizer.name=sgd"])
    {'rounds': 5, 'optimizer.name': 'sgd'}
    """
    values: dict[str, Scalar] = {}
    for change in changes or ():
        key, equals, text = change.partition("=")
        if not equals:
            raise typer.BadParameter(f"{change!r} is not of the form key=value", param_hint="--set")
        values[key.strip()] = _parse_scalar(text.strip())
    return values


def require_writable(file: Path, option: str) -> None:
    """Refuse a file that cannot be written before the work whose result it is to hold; a missing folder can be made."""
    folder = next(parent for parent in file.absolute().parents if parent.exists())
    problem = ""
    if file.is_dir():
        problem = f"{file} is a folder: name a file in it."
    elif not folder.is_dir():
        problem = f"{folder} is no folder: name a file elsewhere."
    elif not os.access(folder, os.W_OK | os.X_OK):
        problem = f"nothing can be written to {folder}: change its permissions, or name a file elsewhere."
    if problem:
        raise typer.BadParameter(problem, param_hint=option)


def _parse_scalar(text: str) -> Scalar:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, bool | int | float | str) else text


FederationOption = Annotated[Path, typer.Option(envvar="MEDFL_FEDERATION", help="Folder of the federation's server.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is changed; anything but yes ends the command with exit code 1."""
    if not yes:
        typer.confirm(question, abort=True)
