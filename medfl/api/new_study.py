"""A new study, drafted from data or a sample study: a commented file that is valid, and can be simulated at once."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from medfl.api.data_choices import choose_for_data
from medfl.api.data_look import DataLook, Progress
from medfl.api.study_questions import COMMAND
from medfl.data.cohort import read_cohort
from medfl.data.simulated_sites import join_folders, read_simulated_sites
from medfl.errors import ConfigError, MedflError, Problem
from medfl.errors.validation import did_you_mean
from medfl.planning.study_choices import Choice
from medfl.study import read_app, read_run_config
from medfl.study.study_file import STUDY_FILE, Scalar, StudyFile
from medfl.study.study_text import write_readme, write_study_text
from medfl.study.task import Task
from medfl.system.files import translate_disk_errors, write_file

README = "README.md"
_NAME_LENGTH = 32
_OF_DATA = ("task", "simulation")  # tables that follow from the data, whatever the sample has
_NOT_COPIED = ("server.", "simulation.data", "simulation.store", "name")


@dataclass(frozen=True, eq=False)
class StudyDraft:
    """A new study before it is written.

    Parameters
    ----------
    folder : Path
        Its folder.
    file : StudyFile
        Its file, valid.
    readme : str
        The README.md beside it.
    assumed : tuple of str
        What was assumed, in sentences.
    doubts : tuple of str
        What a person must look at, in sentences.
    hospitals : dict
        Simulated hospitals by name, each with its number of usable cases.
    data : tuple of Path
        Folders of the data.
    """

    folder: Path
    file: StudyFile
    readme: str
    assumed: tuple[str, ...]
    doubts: tuple[str, ...]
    hospitals: dict[str, int]
    data: tuple[Path, ...]

    @property
    def commands(self) -> tuple[str, ...]:
        """Commands that come next: check, simulate, bundle."""
        data = [word for folder in self.data for word in ("--data", str(folder))] or ["--data", "DATA"]
        folder = str(self.folder)
        words = (["check", folder, *data], ["simulate", folder, *data], ["bundle", folder])
        return tuple(shlex.join(["medfl", *([] if each[0] == "simulate" else ["study"]), *each]) for each in words)

    def write(self) -> None:
        """Write the study; a study or README that is there stays.

        Raises
        ------
        ConfigError
            When there is a study.
        RunError
            ``DISK-FULL`` or ``RUN-FOLDER``.
        """
        with translate_disk_errors(f"the study in {self.folder}", "give the same command again"):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                write_file(self.folder / STUDY_FILE, self.file.text.encode(), replace=False)
            except FileExistsError:
                raise _there_error(self.folder) from None
            if not (self.folder / README).exists():
                write_file(self.folder / README, self.readme.encode(), replace=False)


def require_new(folder: Path, data: Sequence[Path]) -> None:
    """Refuse a folder for a study that holds one, or lies in the data.

    Raises
    ------
    ConfigError
        With what to do.
    """
    if (folder / STUDY_FILE).exists():
        raise _there_error(folder)
    if folder.exists() and not folder.is_dir():
        raise ConfigError([Problem(COMMAND, "FOLDER", f"{str(folder)!r} is a file.", "Name a new folder.")])
    if any(folder.resolve().is_relative_to(each) for each in data):
        what = "this folder lies in that of the data, where its files would count as the data's."
        raise ConfigError([Problem(COMMAND, "FOLDER", what, "Name a folder elsewhere.")])


def draft_study(
    folder: Path,
    look: DataLook | None,
    *,
    name: str = "",
    sample: str = "",
    has_gpu: bool = False,
    progress: Progress | None = None,
) -> StudyDraft:
    """Draft a study for data that was looked at, or after a sample study, or both.

    Parameters
    ----------
    folder : Path
        Folder of the study.
    look : DataLook, optional
        The data, with usable cases; None: the study is that of the sample.
    name : str
        Name of the study; empty: that of the folder.
    sample : str
        Name of a sample study whose choices are taken wherever the data does not decide.
    has_gpu : bool
        Whether this machine has a GPU.
    progress : callable, optional
        Called with (done, in all, what is being done).

    Raises
    ------
    ConfigError
        When the sample is not there or of another task, or the study would not be valid.
    """
    copied = _read_sample(sample) if sample else {}
    choices: list[Choice] = []
    assumed: list[str] = []
    if look is not None and look.task is not None:
        _require_same_kind(copied, look.task, sample)
        choices, assumed = choose_for_data(look, look.task, has_gpu=has_gpu, is_planned=not copied, progress=progress)
    keys, why, doubtful = _merge_choices(choices, copied)
    task = f"{keys['task.kind']} of {keys['task.modality']} images: {keys['task.classes']}"
    description = re.sub(r"\s+", " ", f"{keys['task.dimension']}-D {task}").replace(",", ", ")
    name = name or _name_of(folder)
    text = write_study_text(name, description, keys, why, doubtful)
    file = StudyFile(folder, text, tomllib.loads(text))
    read_app(file)
    hospitals, problems = _count_cases(file, look) if look else ({}, [])
    return StudyDraft(
        folder=folder,
        file=file,
        readme=write_readme(name, description, folder.name or name, several=bool(look and len(look.folders) > 1)),
        assumed=tuple(assumed),
        doubts=(*(f"{key}: {why[key]}" for key in doubtful), *problems),
        hospitals=hospitals,
        data=look.folders if look else (),
    )


def list_samples() -> tuple[str, ...]:
    """Return the names of the sample studies."""
    folder = files("medfl") / "sample_configs"
    return tuple(sorted(each.name for each in folder.iterdir() if (each / STUDY_FILE).is_file()))


def _read_sample(name: str) -> dict[str, Scalar]:
    if name not in list_samples():
        what = f"there is no sample study {name!r}."
        fix = f"{did_you_mean(name, list_samples())} Samples: {', '.join(list_samples())}.".strip()
        raise ConfigError([Problem(COMMAND, "--from", what, fix)])
    with as_file(files("medfl") / "sample_configs" / name) as folder:
        keys = read_run_config(folder)
    return {key: value for key, value in keys.items() if not key.startswith(_NOT_COPIED)}


def _require_same_kind(copied: dict[str, Scalar], task: Task, sample: str) -> None:
    for key, ours in (("task.kind", task.kind), ("task.dimension", task.dimension)):
        if copied and copied[key] != ours:
            what = f"the sample {sample!r} has {key} = {copied[key]!r}, and the data is of {ours!r}."
            raise ConfigError([Problem(COMMAND, "--from", what, "Leave it out, or choose another sample.")])


def _merge_choices(choices: Sequence[Choice], copied: dict[str, Scalar]) -> tuple[dict[str, Scalar], dict[str, str], list[str]]:
    """Return the keys of the study; a table that the sample has is the sample's, but for what follows from the data."""
    own = {key.partition(".")[0] for key in copied} - (set(_OF_DATA) if choices else set())
    kept = [choice for choice in choices if choice.key.partition(".")[0] not in own]
    keys = {key: value for key, value in copied.items() if key.partition(".")[0] in own}
    keys |= {choice.key: choice.value for choice in kept}
    why = {choice.key: choice.why for choice in kept if choice.why}
    return keys, why, [choice.key for choice in kept if choice.is_doubtful]


def _count_cases(file: StudyFile, look: DataLook) -> tuple[dict[str, int], list[str]]:
    """Return the usable cases of each simulated hospital, and what stands in the way of a simulation."""
    app = read_app(file, {"simulation.data": join_folders(look.folders)})
    hospitals, problems = {}, []
    for site in read_simulated_sites(app.simulation):
        try:
            hospitals[site.name] = len(read_cohort(site, app.study).cases)
        except MedflError as error:
            problems.append(f"{site.name} could not take part: {error.what} {error.fix}".strip())
    return hospitals, problems


def _name_of(folder: Path) -> str:
    plain = re.sub(r"[^A-Za-z0-9]+", "-", folder.resolve().name).strip("-").lower()[:_NAME_LENGTH].strip("-")
    return plain if plain[:1].isalpha() else f"study-{plain}"[:_NAME_LENGTH].strip("-")


def _there_error(folder: Path) -> ConfigError:
    what = f"there is a study in {str(folder)!r}, which is not overwritten."
    return ConfigError([Problem(COMMAND, "FOLDER", what, "Name another folder, or remove that study.")])
