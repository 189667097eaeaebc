"""The library of models of this account: start weights with their name, source, licence and SHA-256.

A folder each, in ``MEDFL_MODELS`` or ``~/.local/share/medfl/models``: the file of the weights, and ``model.json`` about it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from medfl.errors import RunError
from medfl.runs.model_file import describes_study
from medfl.study.start import Start
from medfl.system.files import read_json, temporary_folder, temporary_path, translate_disk_errors

SUFFIXES = (".safetensors", ".pt", ".pth")
_IN_FOLDERS = ("best.safetensors", "models/model.safetensors", "models/model.pt")  # of a run, an export, a bundle of MONAI
_ABOUT = "model.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LIST = "See 'medfl models list'."


@dataclass(frozen=True)
class LibraryModel:
    """A model of the library.

    Parameters
    ----------
    name : str
        Name of its folder, by which a study calls it.
    source, licence : str
        Where it comes from, and under which licence, in the words of whoever added it.
    sha256 : str
        Of the file, hexadecimal, when it was added.
    file : str
        Name of the file.
    added : str
        ISO time, UTC.
    folder : Path
        Where it lies.
    """

    name: str
    source: str
    licence: str
    sha256: str
    file: str
    added: str
    folder: Path = Path()

    @property
    def path(self) -> Path:
        """The file of the weights."""
        return self.folder / self.file


def library_folder() -> Path:
    """Return the folder of the library: ``MEDFL_MODELS``, or else one of the account."""
    return Path(os.environ.get("MEDFL_MODELS") or Path.home() / ".local" / "share" / "medfl" / "models")


def add_model(path: Path, name: str, source: str, licence: str) -> LibraryModel:
    """Copy a file of weights into the library; whether it fits a study, and can be read, shows when a study takes it.

    Parameters
    ----------
    path : Path
        The file, or a folder that has one: of a run, of an export, or of a bundle of MONAI.
    name, source, licence : str
        As in `LibraryModel`.

    Raises
    ------
    RunError
        ``START-FILE`` when there is no such file, or there is a model of that name; ``DISK-FULL``, ``RUN-FOLDER``.
    """
    if not _NAME.fullmatch(name):
        raise _unusable(f"{name[:70]!r} is no name for a model.", "Take letters, digits, '.', '_' and '-', 64 at most.")
    if not all(text.isprintable() and text.strip() for text in (source, licence)):
        raise _unusable("source or licence is empty, or not one line.", "Say where it comes from, and its licence.")
    weights, folder = find_weights(path), library_folder() / name
    if folder.exists():
        raise _unusable(f"the library has a model {name!r} already.", "Take another name.")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    model = LibraryModel(name, source, licence, hash_file(weights), f"model{weights.suffix}", now, folder)
    with translate_disk_errors("the library of models", "give the same command again"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = temporary_path(folder)
        with temporary_folder(fresh):
            shutil.copyfile(weights, fresh / model.file)
            about = {key: value for key, value in asdict(model).items() if key not in ("name", "folder")}
            (fresh / _ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")
            fresh.rename(folder)
    return model


def list_models() -> tuple[LibraryModel, ...]:
    """Return the models of the library by name; folders that hold none are passed over."""
    return tuple(_read_models())


def find_weights(path: Path) -> Path:
    """Return the file of weights that a path means: itself, or the one in a folder of a run, an export or a bundle.

    Raises
    ------
    RunError
        ``START-FILE`` when there is none.
    """
    if path.is_dir():
        for name in _IN_FOLDERS:
            if (path / name).is_file():
                return _check_origin(path / name)
        what = "the folder is neither that of a run with a best model, nor of an export, nor a bundle of MONAI."
        raise _unusable(what, f"Name one that has {', '.join(_IN_FOLDERS[:-1])} or {_IN_FOLDERS[-1]}.")
    if not path.is_file():
        raise _unusable("there is no such file.", f"Name a file, or a model of the library. {_LIST}")
    if path.suffix not in SUFFIXES:
        raise _unusable(f"weights are not read from a file that ends with {path.suffix!r}.", f"Allowed: {', '.join(SUFFIXES)}.")
    return _check_origin(path)


def find_start_file(start: Start, folder: Path | None = None, given: str = "") -> Path:
    """Return the file of a study's start weights, which still has to be held against its SHA-256.

    Parameters
    ----------
    start : Start
        The table of the study.
    folder : Path, optional
        Folder of the study.
    given : str
        Path that the server was told.

    Raises
    ------
    RunError
        ``START-FILE`` when it is neither there nor in the library.
    """
    for path in filter(None, (Path(given) if given else None, folder and folder / start.file)):
        if path.exists():
            return find_weights(path)
    models = list_models()
    for is_meant in (lambda model: model.name == start.file, lambda model: model.sha256 == start.sha256):
        if found := next(filter(is_meant, models), None):
            return found.path
    what = "the start weights of the study are neither in its folder nor in the library of models."
    raise _unusable(what, "Add them: medfl models add FILE --name NAME --source SOURCE --licence LICENCE")


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal.

    Raises
    ------
    RunError
        ``START-FILE`` when it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unusable(f"the file cannot be read: {error.strerror or type(error).__name__}.", "Copy it again.") from None


def _check_origin(path: Path) -> Path:
    """Refuse a file of an export of medfl that does not say which studies trained it, where one beside it does."""
    beside = path.with_suffix(".safetensors")
    if beside != path and describes_study(beside):
        what = f"it does not say whom it was trained on, and {beside.name} beside it does."
        raise _unusable(what, f"Take {beside.name}, so that nobody is tested whom it was trained on.")
    return path


def _read_models() -> Iterator[LibraryModel]:
    for path in sorted(library_folder().glob(f"[!.]*/{_ABOUT}")):
        about = read_json(path) or {}
        texts = {key: str(about.get(key, "")) for key in ("source", "licence", "sha256", "file", "added")}
        if texts["file"] == Path(texts["file"]).name and (path.parent / texts["file"]).is_file():
            yield LibraryModel(path.parent.name, **texts, folder=path.parent)


def _unusable(what: str, fix: str) -> RunError:
    return RunError("START-FILE", f"the weights cannot be used: {what}", fix)
