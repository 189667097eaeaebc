"""DICOM series for MONAI's reader: a bundle holds this file as `scripts/dicom_series.py`, so nothing in it is of medfl.

MONAI puts the slices of a folder in the order of InstanceNumber, at even distances along one line, whatever their positions
say. Series of which that is not true are refused here, as are images that it would read as something else.
"""

from __future__ import annotations

import glob
import warnings
from pathlib import Path
from typing import Any

import numpy as np

_NEEDED = (
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "SeriesInstanceUID",
)
_SAME = ("SeriesInstanceUID", "Modality", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns")
_SAME_WITHIN = 1e-3  # of the numbers in a header that slices share
_HOUNSFIELD = ("", "HU", "US")  # RescaleType of a CT: Hounsfield units, or unspecified
_HEADERLESS = (b"\x08\x00", b"\x00\x08", b"\x02\x00\x00\x00")  # first groups of DICOM without preamble
_OFF_GRID = 0.05  # of the smallest side of a voxel, by which a slice may lie off its place in the grid


def find_series(folder: str, modality: str) -> list[str]:
    """Return the folders of the DICOM series in a folder, each with the slices of one series and nothing else of DICOM.

    Parameters
    ----------
    folder : str
        The folder; what it holds besides folders of DICOM is not looked at.
    modality : str
        The one that a series must be of, such as ``"CT"``.

    Raises
    ------
    ValueError
        When a series would not be read as what it is, with the reason.
    """
    slices: dict[Path, list[Path]] = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.is_symlink() and path.is_dir():
            raise ValueError(f"{path} is a link to a folder, in which no series is looked for: put the folder itself there.")
        if path.is_file() and _is_dicom(path):
            slices.setdefault(path.parent, []).append(path)
    for place, paths in slices.items():
        if place.parent != Path(folder):
            raise ValueError(f"DICOM in {place}: each series needs a folder of its own, right in {folder}")
        if problem := _find_unread(place, paths) or _find_problem(paths, modality):
            raise ValueError(f"the DICOM series in {place} {problem}")
        if others := sum(path.is_file() for path in place.iterdir()) - len(paths):
            warnings.warn(f"{others} file(s) in {place} are no DICOM and are not read.", stacklevel=2)
    return [str(place) for place in slices]


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(132)
    if start[128:] != b"DICM" and start.startswith(_HEADERLESS):
        raise ValueError(f"{path} seems to be DICOM without the prefix DICM, which MONAI does not read: export it again.")
    return start[128:] == b"DICM"


def _find_unread(place: Path, paths: list[Path]) -> str:
    """Return why MONAI, which lists a folder by a pattern of names, would read other files than these, or nothing."""
    if glob.escape(str(place)) != str(place):
        return "lies in a folder with *, ? or [ in its name or place, which MONAI takes for a pattern: rename it."
    if any(path.name.startswith(".") for path in paths):
        return "holds hidden files, which MONAI does not read: remove them, or give them names without a dot in front."
    return ""


def _find_problem(paths: list[Path], modality: str) -> str:
    """Return what is wrong with a series, or nothing."""
    import pydicom  # a folder without DICOM does without it

    images = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    if any("NumberOfFrames" in image or "SharedFunctionalGroupsSequence" in image for image in images):
        return "holds multi-frame objects: convert it to NIfTI."
    if missing := [name for name in _NEEDED if any(image.get(name) in (None, "") for image in images)]:
        return f"has no {missing[0]} in some image: it is no series of slices."
    if problem := _find_odd_values(images, modality):
        return problem
    for name in _SAME:
        if not all(_are_same(image.get(name), images[0].get(name)) for image in images):
            return f"differs in {name} between images: one series alone, without localizers, must lie in the folder."
    if images[0].get("Modality") != modality:
        return f"is not {modality}."
    if len(images) < 2:
        return "has one slice alone: it is no volume."
    if len({int(image.InstanceNumber) for image in images}) < len(images):
        return "repeats an InstanceNumber, by which MONAI puts slices in order: convert it to NIfTI, and look at the result."
    return _find_uneven(sorted(images, key=lambda image: int(image.InstanceNumber)))


def _find_odd_values(images: list[Any], modality: str) -> str:
    """Return why MONAI would read other grey values than those that the modality measures, or nothing."""
    if any(image.get("SamplesPerPixel") != 1 or "ModalityLUTSequence" in image for image in images):
        return "holds colours, or values that only a table explains."
    if any(image.get("PhotometricInterpretation") == "PALETTE COLOR" for image in images):
        return "holds colours (PALETTE COLOR), of which MONAI would take the indices for grey values."
    if modality == "CT" and any(str(image.get("RescaleType") or "").upper() not in _HOUNSFIELD for image in images):
        return "has a RescaleType that says that its values are not Hounsfield units: use the original series."
    if len({("RescaleSlope" in image, "RescaleIntercept" in image) for image in images}) > 1:
        return "lacks the scale of grey values in some images."
    return ""


def _are_same(one: object, other: object) -> bool:
    if isinstance(one, str | int | None) or isinstance(other, str | int | None):
        return one == other
    numbers = np.array(one, float), np.array(other, float)
    return numbers[0].shape == numbers[1].shape and np.allclose(*numbers, rtol=_SAME_WITHIN, atol=_SAME_WITHIN)


def _find_uneven(images: list[Any]) -> str:
    """Return whether slices, in the order in which MONAI takes them, lie off an even grid at right angles to them."""
    places = np.array([image.ImagePositionPatient for image in images], float)
    along_row, along_column = np.array(images[0].ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(along_row, along_column)
    distance = (places[-1] - places[0]) @ normal / (len(places) - 1)
    even = places[0] + np.arange(len(places))[:, np.newaxis] * distance * normal
    allowed = _OFF_GRID * min(abs(distance), *np.array(images[0].PixelSpacing, float))
    if allowed > 0 and np.linalg.norm(places - even, axis=1).max() <= allowed:
        return ""
    return (
        "is no even stack of slices in the order of InstanceNumber (missing or repeated slices, uneven distances, or a tilted "
        "gantry): convert it to NIfTI, and look at the result."
    )
