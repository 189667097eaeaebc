"""The start of a study: another model's weights are held against its network, and named in its file by their digests."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tomli_w

from medfl.errors import ConfigError, Problem, RunError
from medfl.runs.model_library import LibraryModel, find_start_file, find_weights, list_models
from medfl.study import read_study, read_study_file
from medfl.study.model_words import describe_part
from medfl.study.start import Start
from medfl.study.study_file import STUDY_FILE, StudyFile
from medfl.system.files import translate_disk_errors, write_file
from medfl.system.text import format_bytes

if TYPE_CHECKING:
    from medfl.clients.start.weight_mapping import MappedWeights
    from medfl.study import Study

_TABLE = "tool.flwr.app.config.start"
_RULES = ("channels", "head", "missing", "patients")  # of a study, whichever model it begins with
_WORDS = ("name", "source", "licence")  # of one file
_UNKNOWN = "0" * 64  # in place of digests that are not known yet


@dataclass(frozen=True)
class StudyStart:
    """A start that fits a study.

    Parameters
    ----------
    keys : dict
        Keys of the table ``start``.
    mapped : MappedWeights
        The first model, and what became of each tensor.
    study : Study
        The study.
    """

    keys: dict[str, str]
    mapped: MappedWeights
    study: Study

    def travel(self) -> list[str]:
        """Say what of the first model travels, where a part of it is trained."""
        if not self.study.training.tunes_part:
            return []
        from medfl.clients.networks.update_size import count_start_bytes

        size = format_bytes(count_start_bytes(self.study))
        return [*describe_part(self.study), f"the first model goes to each hospital once, as it is asked to join: {size}"]


def fit_start(folder: Path, model: str, keys: Mapping[str, str]) -> StudyStart:
    """Hold a model against the network of a study; nothing is written.

    Parameters
    ----------
    folder : Path
        Folder of the study, or its pyproject.toml.
    model : str
        A path inside of that folder, or a name in the library of models.
    keys : mapping
        Keys of the table ``start`` that are chosen: ``channels``, ``head``, ``missing``, ``patients``, ``name``, ``source``,
        ``licence``.

    Raises
    ------
    ConfigError
        When the study is wrong, or the start does not go with the rest of it.
    RunError
        ``START-FILE`` when there is no such model, it is damaged, or holds code; ``START-FIT`` when it does not fit.
    """
    file = read_study_file(folder)
    path, own = _find_model(file, model)
    before = {key: str(value) for key, value in file.app["config"].get("start", {}).items()}
    kept = before if before.get("file") == own["file"] else {key: before[key] for key in _RULES if key in before}
    wanted = {**kept, **own, **{key: value for key, value in keys.items() if value}}
    draft = wanted | {"sha256": _UNKNOWN, "arrays": _UNKNOWN}
    study = read_study(file, {f"start.{key}": value for key, value in draft.items()})
    from medfl.clients.start.start_model import map_start  # brings torch and MONAI, which take seconds to import

    mapped, told = map_start(study, path)
    if told["sha256"] != before.get("sha256"):  # another file at the same path: what was said of the old one is not of this
        wanted |= {key: keys.get(key, "") or own.get(key, "") for key in _WORDS}
    return StudyStart({key: value for key, value in (wanted | told).items() if value}, mapped, study)


def write_start(folder: Path, start: StudyStart) -> None:
    """Write the table ``start`` into the file of a study, and leave the rest of its text as it is.

    Raises
    ------
    ConfigError
        When the table is written in a way that cannot be replaced.
    RunError
        ``DISK-FULL`` or ``RUN-FOLDER`` when the file cannot be written.
    """
    file = read_study_file(folder)
    block = f"[{_TABLE}]\n" + tomli_w.dumps({key: start.keys[key] for key in sorted(start.keys, key=_place)})
    text = _replace_table(file.text.replace("\r\n", "\n"), block)
    wanted = file.document_with({**file.app["config"], "start": start.keys})
    try:
        is_same = tomllib.loads(text) == wanted
    except tomllib.TOMLDecodeError:
        is_same = False
    if not is_same:
        what = "this table is not written under its own heading, so it cannot be replaced."
        raise ConfigError(
            [Problem(STUDY_FILE, "start", what, f"Take it out of the file, and give the command again:\n{block}")]
        )
    with translate_disk_errors("the file of the study", "give the same command again"):
        write_file(file.folder / STUDY_FILE, (text.replace("\n", "\r\n") if "\r\n" in file.text else text).encode())


def describe_start(study: Study, folder: Path) -> list[str]:
    """Say what a study begins with, and what of it becomes the first model; empty where it begins with its seed.

    Raises
    ------
    RunError
        ``START-FILE``, ``START-FIT`` or ``START-HASH`` when the weights are here and are not those of the study.
    """
    start = study.start
    if not start.is_given:
        return []
    licence = f", licence {start.licence}" if start.licence else ""
    named = f"starts from {start.name or start.file}{licence}, SHA-256 {start.sha256[:16]}"
    said = [named] if start.studies else [named, "it is not known who trained this: nobody is kept apart"]
    try:
        path = find_start_file(start, folder)
    except RunError:
        return [*said, "its weights are not on this machine; the first model is known by its digest all the same"]
    from medfl.clients.start.start_model import load_start

    return [*said, *(f"  {sentence}" for sentence in load_start(study, path).sentences())]


def _find_model(file: StudyFile, model: str) -> tuple[Path, dict[str, str]]:
    """Return the path of a model, and what is known of it for the table."""
    inside = file.folder / model
    if inside.exists() and inside.resolve().is_relative_to(file.folder.resolve()):
        return find_weights(inside), {"file": Path(model).as_posix()}
    if not inside.exists() and Path(model).exists() and Path(model).resolve().is_relative_to(file.folder.resolve()):
        return find_weights(Path(model)), {"file": Path(model).resolve().relative_to(file.folder.resolve()).as_posix()}
    found = next((each for each in list_models() if each.name == model), None)
    if found is None:
        what = f"{model!r} is neither a file in the study's folder nor a name in the library of models."
        fix = "Add it: medfl models add FILE --name NAME --source SOURCE --licence LICENCE"
        raise RunError("START-FILE", f"the weights cannot be used: {what}", fix)
    return found.path, _about(found)


def _about(model: LibraryModel) -> dict[str, str]:
    return {"file": model.name, "name": model.name, "source": model.source, "licence": model.licence}


def _place(key: str) -> int:
    return list(Start.model_fields).index(key) if key in Start.model_fields else len(Start.model_fields)


def _replace_table(text: str, block: str) -> str:
    """Return the text with the block in place of the table of that name, or at its end."""
    found = re.search(rf"^\[{re.escape(_TABLE)}\][^\n]*\n(?:(?!\s*\[)[^\n]*(?:\n|\Z))*", text, re.MULTILINE)
    if found is None:
        return f"{text.rstrip()}\n\n{block}"
    return f"{text[: found.start()]}{block}\n{text[found.end() :]}".rstrip() + "\n"
