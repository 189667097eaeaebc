"""Reading one case: its image and its label, checked and on one grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medfl.data.cases import Case, Source
from medfl.data.dicom.series import read_dicom_image, read_series
from medfl.data.grids import NEAR
from medfl.data.images import read_image
from medfl.data.labels import read_mask
from medfl.data.nifti import read_nifti
from medfl.data.volume import Volume, corner_distance
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study

SPACING_MM = (0.05, 20.0)  # voxel sizes that an image of a patient can have
_BONE = 1500.0  # a CT that never gets below 0 but above this was stored without its rescale intercept


def load_case(case: Case, study: Study, site: Site) -> tuple[Volume, NDArray[np.uint8] | int]:
    """Read the image and the label of a case.

    Returns
    -------
    volume : Volume
        As stored, not yet resampled or normalised.
    label : ndarray of uint8 or int
        The mask on the grid of the image, or the index of the class.

    Raises
    ------
    DataError
        With the pseudonym of the case.
    """
    try:
        volume = load_image(case.image, study)
        if isinstance(case.label, int):
            return volume, case.label
        return volume, read_mask(case.label, volume, case.image, study, site)
    except DataError as error:
        raise DataError(error.code, error.what, error.fix, case.name) from None
    except (OSError, MemoryError):
        raise DataError(
            "IMG-READ", "a file could not be read.", "Check disk, network drive and permissions.", case.name
        ) from None


def load_image(source: Source, study: Study) -> Volume:
    """Read an image with all its channels and check its values.

    Raises
    ------
    DataError
        ``IMG-CHANNELS``, ``IMG-GRID``, ``IMG-NAN``, ``IMG-CONST``, ``IMG-SPACING``, ``IMG-DIMENSION``; codes of the readers.
    """
    volume = _stacked(_parts(source, study), study.task.channels)
    _check_image(volume)
    if study.task.modality == "CT" and study.task.dimension == 3 and volume.array.min() >= 0 and volume.array.max() > _BONE:
        what = "the values do not look like Hounsfield units: nothing is below 0."
        hint = DataError("CT-HU", what, "RescaleIntercept is missing or was applied twice; export the original.")
        return Volume(volume.array, volume.affine, (*volume.warnings, hint))
    return volume


def _parts(source: Source, study: Study) -> list[Volume]:
    flat = study.task.dimension == 2
    if source.kind == "image":
        if not flat:
            raise DataError("IMG-DIMENSION", "the image is a 2-D file, the study needs volumes.", "Use the original series.")
        return [read_image(path) for path in source.paths]
    if source.kind == "nifti":
        channels = study.task.channels if len(source.paths) == 1 else 1
        return [read_nifti(path, channels=channels, dimension=study.task.dimension) for path in source.paths]
    if not flat:
        return [read_series(source.paths)]
    if len(source.paths) > 1:
        raise DataError("IMG-DIMENSION", "the case is a series of images, the study needs one.", "Name one file in the index.")
    return [read_dicom_image(source.paths[0])]


def _stacked(parts: list[Volume], channels: int) -> Volume:
    first = parts[0]
    found = sum(len(part.array) for part in parts)
    if found != channels:
        raise DataError("IMG-CHANNELS", f"the image has {found} channel(s), the study needs {channels}.", "Check the index.")
    if len(parts) == 1:
        return first
    for part in parts[1:]:
        near = NEAR * min(first.spacing)
        if part.shape != first.shape or corner_distance(part.affine, first.affine, first.shape) > near:
            raise DataError("IMG-GRID", "the channels are not on one grid.", "Register and resample them to one grid.")
    warnings = tuple(warning for part in parts for warning in part.warnings)
    return Volume(np.concatenate([part.array for part in parts]), first.affine, warnings)


def _check_image(volume: Volume) -> None:
    wrong = volume.array.size - int(np.count_nonzero(np.isfinite(volume.array)))
    if wrong:
        raise DataError("IMG-NAN", f"{wrong} voxels are not numbers.", "Replace them and convert the image again.")
    if any(channel.min() == channel.max() for channel in volume.array):
        raise DataError("IMG-CONST", "all voxels have one value.", "The image is empty; export it again.")
    low, high = SPACING_MM
    if not all(low <= size <= high for size in volume.spacing):
        sizes = " x ".join(f"{size:.3g}" for size in volume.spacing)
        raise DataError("IMG-SPACING", f"the voxel size of {sizes} mm can not be right.", "Convert it again from the DICOM.")
