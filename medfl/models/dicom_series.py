"""DICOM series for MONAI's reader: a bundle holds this file as `scripts/dicom_series.py`, so nothing in it is of medfl.

MONAI puts the slices of a folder in the order of InstanceNumber, at even distances along one line, whatever their positions
say. Series of which that is not true are refused here, as are images that it would read as something else.
"""

from __future__ import annotations

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
        if path.is_file() and _is_dicom(path):
            slices.setdefault(path.parent, []).append(path)
    for place, paths in slices.items():
        if place.parent != Path(folder):
            raise ValueError(f"DICOM in {place}: each series needs a folder of its own, right in {folder}")
        if problem := _find_problem(paths, modality):
            raise ValueError(f"the DICOM series in {place} {problem}")
    return [str(place) for place in slices]


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _find_problem(paths: list[Path], modality: str) -> str:
    """Return what is wrong with a series, or nothing."""
    import pydicom  # a folder without DICOM does without it

    images = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    if any("NumberOfFrames" in image or "SharedFunctionalGroupsSequence" in image for image in images):
        return "holds multi-frame objects: convert it to NIfTI."
    if missing := [name for name in _NEEDED if any(image.get(name) in (None, "") for image in images)]:
        return f"has no {missing[0]} in some image: it is no series of slices."
    if any(image.get("SamplesPerPixel") != 1 or "ModalityLUTSequence" in image for image in images):
        return "holds colours, or values that only a table explains."
    for name in _SAME:
        if not all(_are_same(image.get(name), images[0].get(name)) for image in images):
            return f"differs in {name} between images: one series alone, without localizers, must lie in the folder."
    if images[0].get("Modality") != modality:
        return f"is not {modality}."
    if len({("RescaleSlope" in image, "RescaleIntercept" in image) for image in images}) > 1:
        return "lacks the scale of grey values in some images."
    if len(images) < 2:
        return "has one slice alone: it is no volume."
    return _find_uneven(sorted(images, key=lambda image: int(image.InstanceNumber)))


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
