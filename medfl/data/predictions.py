"""Predictions on their way back: from the grid of the network to that of the source, as NIfTI or DICOM-SEG.

Everything here is three-dimensional: a 2-D image has no place in a patient to go back to. The files hold what the source
holds, in a DICOM-SEG the patient's name and number too; the caller names them by pseudonyms and keeps them at the site.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medfl.data.cases import Source
from medfl.data.dicom.seg_writing import make_seg, source_planes
from medfl.data.nifti_position import FORM_TOLERANCE_MM
from medfl.data.volume import LPS_TO_RAS, Affine, Volume, corner_distance
from medfl.errors import DataError, DiskFullError
from medfl.site import SiteData
from medfl.system.files import is_disk_full, write_file

Mask = NDArray[np.uint8]
_SUFFIXES = (".nii", ".nii.gz")
_HALF_VOXEL = 0.5  # a voxel reaches half its size beyond its centre
_DEFAULTS = SiteData()


@dataclass(frozen=True)
class ModelOrigin:
    """Model that made a prediction.

    Parameters
    ----------
    name : str
        Name of the model.
    version : str
        Its version.
    digest : str
        SHA-256 of its weights, hexadecimal.
    """

    name: str
    version: str
    digest: str


def resample_to_source(values: NDArray[Any], prepared_affine: Affine, source: Volume) -> Mask:
    """Bring a prediction from the prepared grid onto the grid of the image it was made of.

    Orientation, crop, spacing and size of the preparation are all given by the affine. What the preparation cut away becomes
    background.

    Parameters
    ----------
    values : ndarray
        A mask of whole numbers (X, Y, Z), sampled at the nearest voxel; or probabilities (classes, X, Y, Z), interpolated
        linearly before the largest is taken, which gives smoother borders.
    prepared_affine : ndarray
        4 x 4 affine of the prepared image, RAS mm (`medfl.data.store.prepared_data.ReferenceMask.prepared_affine`).
    source : Volume
        The 3-D image as read.

    Returns
    -------
    ndarray
        Class of each voxel of the source, uint8, (X, Y, Z).

    Raises
    ------
    DataError
        ``PRED-GRID``.
    """
    if values.ndim not in (3, 4) or len(source.shape) != 3 or (values.ndim == 3 and values.dtype.kind not in "iub"):
        raise DataError("PRED-GRID", "the prediction is neither a mask nor probabilities of a volume.", "Predict a 3-D image.")
    if values.ndim == 3:
        _check_classes(values)
    mask = np.zeros(source.shape, dtype=np.uint8)
    to_values = np.linalg.inv(prepared_affine) @ source.affine
    for k in range(source.shape[2]):  # slice by slice: one large volume in memory is enough
        matrix = to_values[:3] @ np.array([[1, 0, 0], [0, 1, 0], [0, 0, k], [0, 0, 1]], dtype=np.float64)
        mask[:, :, k] = _sample_slice(values, matrix, source.shape[:2])
    return mask


def write_nifti(mask: Mask, image: Volume, path: Path) -> None:
    """Write a mask as NIfTI with the geometry of its image.

    Parameters
    ----------
    mask : ndarray
        (X, Y, Z) on the grid of the image.
    image : Volume
        The 3-D image as read.
    path : Path
        ``.nii`` or ``.nii.gz``; readable by the owner alone.

    Raises
    ------
    DataError
        ``PRED-GRID``, ``PRED-FORMAT`` or ``PRED-WRITE``.
    DiskFullError
        ``DISK-FULL``.
    """
    _check_grid(mask, image)
    if not path.name.endswith(_SUFFIXES):
        raise DataError("PRED-FORMAT", "the name of the file does not end with .nii or .nii.gz.", "Give it one of these ends.")
    made = nibabel.Nifti1Image(np.asarray(mask, dtype=np.uint8), image.affine)
    made.header.set_xyzt_units("mm")
    made.set_sform(image.affine, code="scanner")
    made.set_qform(image.affine, code="scanner")
    if corner_distance(made.get_qform(), made.get_sform(), image.shape) > FORM_TOLERANCE_MM:
        made.set_qform(None, code="unknown")  # a quaternion cannot say that axes are a little oblique to each other
    data = made.to_bytes()
    _write_private(path, gzip.compress(data, mtime=0) if path.name.endswith(".gz") else data)


def write_seg(
    mask: Mask,
    image: Volume,
    source: Source,
    classes: Sequence[str],
    origin: ModelOrigin,
    path: Path,
    *,
    kind: Literal["BINARY", "LABELMAP"] = "BINARY",
    settings: SiteData = _DEFAULTS,
) -> None:
    """Write a mask as DICOM-SEG that refers to the images it was predicted from.

    It is a new series of the same study, made by an algorithm and meant for research. A volume that was straightened or
    evened out on import is brought back onto the slices as they were acquired.

    Parameters
    ----------
    mask : ndarray
        (X, Y, Z) on the grid of the image.
    image : Volume
        The series as read.
    source : Source
        Its files.
    classes : sequence of str
        Names of the classes; the first is the background.
    origin : ModelOrigin
        The model.
    path : Path
        The file; readable by the owner alone, for it names the patient.
    kind : {"BINARY", "LABELMAP"}
        BINARY is what every PACS knows; LABELMAP (of 2024) is smaller.
    settings : SiteData
        Settings by which the site's series are read.

    Raises
    ------
    DataError
        ``PRED-GRID``, ``PRED-SEG`` or ``PRED-WRITE``; the codes of reading the series.
    DiskFullError
        ``DISK-FULL``.
    """
    _check_grid(mask, image)
    if source.kind != "dicom":
        raise DataError("PRED-SEG", "a DICOM segmentation needs a DICOM series to refer to.", "Write the prediction as NIfTI.")
    headers, planes, shape = source_planes(source, settings)
    to_mask = np.linalg.inv(LPS_TO_RAS @ image.affine)
    drawn = [_sample_slice(mask, to_mask[:3, :3] @ plane + np.outer(to_mask[:3, 3], [0, 0, 1]), shape) for plane in planes]
    made = make_seg(headers, drawn, classes, (origin.name, origin.version, origin.digest), kind, settings)
    _write_private(path, made)


def _sample_slice(values: NDArray[Any], matrix: NDArray[np.float64], shape: tuple[int, int]) -> Mask:
    """Sample a slice of another grid; `matrix` (3, 3) brings its (column, row, 1) to indices of the values."""
    inside = _inside_mask(matrix, shape, values.shape[-3:])
    if not inside.any():
        return np.zeros(shape, dtype=np.uint8)
    if values.ndim == 3:
        return np.asarray(_interpolate_plane(values, matrix, shape, order=0) * inside, dtype=np.uint8)
    shares = np.stack([_interpolate_plane(part, matrix, shape, order=1) for part in values])
    return np.asarray(shares.argmax(axis=0) * inside, dtype=np.uint8)


def _interpolate_plane(
    values: NDArray[Any], matrix: NDArray[np.float64], shape: tuple[int, int], *, order: int
) -> NDArray[Any]:
    to_values = np.stack([matrix[:, 0], matrix[:, 1], np.zeros(3)], axis=1)
    kind = np.uint8 if order == 0 else np.float32
    found = ndimage.affine_transform(
        values, to_values, matrix[:, 2], output_shape=(*shape, 1), output=kind, order=order, mode="nearest", prefilter=False
    )
    return np.asarray(found[..., 0])


def _inside_mask(matrix: NDArray[np.float64], shape: tuple[int, int], box: tuple[int, ...]) -> NDArray[np.bool_]:
    columns, rows = np.arange(shape[0])[:, np.newaxis], np.arange(shape[1])
    inside = np.ones(shape, dtype=bool)
    for (column, row, start), size in zip(matrix, box, strict=True):
        place = column * columns + row * rows + start
        inside &= (place >= -_HALF_VOXEL - 1e-6) & (place <= size - 1 + _HALF_VOXEL + 1e-6)
    return inside


def _check_grid(mask: NDArray[Any], image: Volume) -> None:
    if len(image.shape) != 3 or mask.shape != image.shape:
        what = "the mask does not lie on the grid of the image."
        raise DataError("PRED-GRID", what, "Bring it there with medfl.data.predictions.resample_to_source.")
    _check_classes(mask)


def _check_classes(mask: NDArray[Any]) -> None:
    """Refuse numbers that a mask of uint8 does not hold, so that none becomes another."""
    if mask.dtype == np.uint8 or mask.dtype.kind == "b" or not mask.size:
        return
    if mask.dtype.kind not in "iu" or mask.min() < 0 or mask.max() > np.iinfo(np.uint8).max:
        what = "the mask holds values that are not whole numbers from 0 to 255."
        raise DataError("PRED-GRID", what, "Give the number of the class of each voxel.")


def _write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read; a failure names neither path nor patient."""
    try:
        write_file(path, data, private=True)
    except OSError as error:
        if is_disk_full(error):
            raise DiskFullError(
                "DISK-FULL", "there is no room for the prediction.", "Make room, then write it again."
            ) from None
        what = "the prediction could not be written."
        raise DataError("PRED-WRITE", what, "Check the folder, disk and permissions.") from None
