"""Visits in folders: several cases in the folder of a patient, or patients in the folders of visits, where names say so."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medfl.data.layouts.visits import names_visit

_SIGNS = "_-. ()"


@dataclass(frozen=True)
class CaseFiles:
    """The image files of one case of the layout `folders`.

    Parameters
    ----------
    folder : Path
        Folder in the data folder that they lie in.
    key, patient : str
        What tells the case from others, and the name of its patient.
    files : tuple of Path
        The files.
    """

    folder: Path
    key: str
    patient: str
    files: tuple[Path, ...]


def divide_cases(
    folders: Mapping[Path, Sequence[Path]], words: Collection[str], is_case: Callable[[CaseFiles], bool]
) -> list[CaseFiles]:
    """Divide the folders of a data folder into cases; a folder is one case unless names of visits in it say otherwise.

    Folders of visits with the folders of patients in them (``visit1/P001/image.nii.gz``) give a case for each patient and
    visit. The folder of a patient with folders or files of visits in it (``P001/visit1/image.nii.gz``,
    ``P001/visit1_image.nii.gz``) gives one for each visit, if each is a case by itself.

    Parameters
    ----------
    folders : mapping of Path to sequence of Path
        Folders of the data folder, with the image files in them.
    words : collection of str
        Words of names of files that say what is in them, as ``image`` and ``mask``.
    is_case : callable
        Whether files hold one image, and no two masks.
    """
    if by_visit := _divide_visits(folders):
        return by_visit
    cases = []
    for folder, files in folders.items():
        parts = [
            CaseFiles(folder, f"{folder.name}/{place}", folder.name, tuple(group))
            for place, group in _group(folder, files, words).items()
        ]
        divided = len(parts) > 1 and all(_is_visit(part.key, folder.name) and is_case(part) for part in parts)
        cases += parts if divided else [CaseFiles(folder, folder.name, folder.name, tuple(files))]
    return cases


def _divide_visits(folders: Mapping[Path, Sequence[Path]]) -> list[CaseFiles]:
    """Return a case for each folder in the folders of visits; nothing where not all are of visits, with patients in them."""
    parts: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for folder, files in folders.items():
        for path in files:
            parts[folder, _first_part(folder, path)].append(path)
    patients = {patient for _, patient in parts}
    if len(patients) < 2 or "" in patients or any(map(names_visit, patients)):
        return []
    if not all(names_visit(folder.name) for folder in folders):
        return []
    others = [CaseFiles(folder, folder.name, folder.name, ()) for folder, files in folders.items() if not files]
    return [*(CaseFiles(folder, f"{folder.name}/{one}", one, tuple(files)) for (folder, one), files in parts.items()), *others]


def _group(folder: Path, files: Sequence[Path], words: Collection[str]) -> dict[str, list[Path]]:
    """Return files by the folder that they lie in, or where they lie in none, by what their names say beside `words`."""
    groups: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        parts = (part for part in re.split(r"[_\-. ]+", path.name.split(".")[0]) if part.lower() not in words)
        groups[_first_part(folder, path) or "_".join(parts)].append(path)
    return groups


def _first_part(folder: Path, path: Path) -> str:
    inner = path.relative_to(folder).parts
    return inner[0] if len(inner) > 1 else ""


def _is_visit(key: str, patient: str) -> bool:
    place = key.removeprefix(f"{patient}/")
    rest = place[len(patient) :] if place.lower().startswith(patient.lower()) else place
    return names_visit(rest.strip(_SIGNS))
