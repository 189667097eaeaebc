"""Predicted masks as files: NIfTI and DICOM-SEG of a volume, PNG of a picture, each on the grid of its image.

`medfl.data.preprocess.undo` brings a prediction onto that grid. The files hold what the source holds, in a DICOM-SEG the
patient's name and number too; the caller names them by pseudonyms and keeps them at the site.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo
from scipy import ndimage

from medfl.data.cases import Source
from medfl.data.dicom.seg_writing import make_seg, source_planes
from medfl.data.nifti_position import FORM_TOLERANCE_MM
from medfl.data.pictures.geometry import PictureGeometry
from medfl.data.pictures.turn import EXIF_TURNS
from medfl.data.prediction_marks import PNG_KEY, make_mark
from medfl.data.source_grid import SourceGrid
from medfl.data.volume import LPS_TO_RAS, corner_distance
from medfl.errors import DataError, DiskFullError
from medfl.site import SiteData
from medfl.system.files import is_disk_full, write_file

Mask = NDArray[np.uint8]
_SUFFIXES = (".nii", ".nii.gz")
_GZIP_LEVEL = 1  # as nibabel writes: more costs as much time as the network, and saves little on a mask
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


def write_nifti(mask: Mask, grid: SourceGrid, path: Path) -> None:
    """Write a mask as NIfTI with the geometry of its image.

    Parameters
    ----------
    mask : ndarray
        (X, Y[, Z]) on the grid of the image.
    grid : SourceGrid
        The grid of the image as read.
    path : Path
        ``.nii`` or ``.nii.gz``; readable by the owner alone.

    Raises
    ------
    DataError
        ``PRED-GRID``, ``PRED-FORMAT`` or ``PRED-WRITE``.
    DiskFullError
        ``DISK-FULL``.
    """
    _check_grid(mask, grid, axes=(2, 3))
    if not path.name.endswith(_SUFFIXES):
        raise DataError("PRED-FORMAT", "the name of the file does not end with .nii or .nii.gz.", "Give it one of these ends.")
    values, affine = np.asarray(mask, dtype=np.uint8), grid.affine
    if values.ndim == 2:
        picture = grid.picture or PictureGeometry((grid.shape[0], grid.shape[1]))
        values, affine = picture.restore(values)[..., np.newaxis], np.eye(4) if picture.affine is None else picture.affine
    made = nibabel.Nifti1Image(values, affine)
    made.header.set_xyzt_units("mm")
    made.header["descrip"] = make_mark(values)
    made.set_sform(affine, code="scanner")
    made.set_qform(affine, code="scanner")
    if corner_distance(made.get_qform(), made.get_sform(), values.shape) > FORM_TOLERANCE_MM:
        made.set_qform(None, code="unknown")  # a quaternion cannot say that axes are a little oblique to each other
    data = made.to_bytes()
    _write_private(path, gzip.compress(data, _GZIP_LEVEL, mtime=0) if path.name.endswith(".gz") else data)


def write_png(mask: Mask, grid: SourceGrid, path: Path) -> None:
    """Write the mask of a picture as PNG, on the picture's own pixels: each grey value is the number of a class.

    A picture that a camera turned keeps its turn: the mask is stored as the picture is, and says the same of its orientation.

    Parameters
    ----------
    mask : ndarray
        (X, Y) on the grid of the picture as read.
    grid : SourceGrid
        The grid of the picture as read.
    path : Path
        ``.png``; readable by the owner alone.

    Raises
    ------
    DataError
        ``PRED-GRID`` or ``PRED-WRITE``.
    DiskFullError
        ``DISK-FULL``.
    """
    _check_grid(mask, grid, axes=(2,))
    picture = grid.picture or PictureGeometry((grid.shape[0], grid.shape[1]))
    shown = picture.restore(np.asarray(mask, dtype=np.uint8))
    stored = shown if picture.camera is None else picture.camera.undo(shown)
    exif = Image.Exif()
    orientation = next((number for number, turn in EXIF_TURNS.items() if turn == picture.camera), 0)
    if orientation > 1:
        exif[ExifTags.Base.Orientation] = orientation
    rows, words, buffer = np.ascontiguousarray(stored.T), PngInfo(), BytesIO()
    words.add_text(PNG_KEY, make_mark(rows))
    Image.fromarray(rows).save(buffer, "PNG", exif=exif, pnginfo=words)
    _write_private(path, buffer.getvalue())


def write_seg(
    mask: Mask,
    grid: SourceGrid,
    source: Source,
    classes: Sequence[str],
    origin: ModelOrigin,
    path: Path,
    *,
    kind: Literal["BINARY", "LABELMAP"] = "BINARY",
    settings: SiteData = _DEFAULTS,
    codes: Sequence[tuple[str, str]] = (),
) -> None:
    """Write a mask as DICOM-SEG that refers to the images it was predicted from.

    It is a new series of the same study, made by an algorithm and meant for research. A volume that was straightened or
    evened out on import is brought back onto the slices as they were acquired.

    Parameters
    ----------
    mask : ndarray
        (X, Y, Z) on the grid of the image.
    grid : SourceGrid
        The grid of the series as read.
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
    codes : sequence of (str, str)
        SNOMED CT code and meaning of each class but the background; empty: looked up by the names of the classes.

    Raises
    ------
    DataError
        ``PRED-GRID``, ``PRED-SEG`` or ``PRED-WRITE``; the codes of reading the series.
    DiskFullError
        ``DISK-FULL``.
    """
    _check_grid(mask, grid)
    if source.kind != "dicom":
        raise DataError("PRED-SEG", "a DICOM segmentation needs a DICOM series to refer to.", "Write the prediction as NIfTI.")
    headers, planes, shape = source_planes(source, settings)
    to_mask = np.linalg.inv(LPS_TO_RAS @ grid.affine)
    drawn = [_sample_slice(mask, to_mask[:3, :3] @ plane + np.outer(to_mask[:3, 3], [0, 0, 1]), shape) for plane in planes]
    made = make_seg(headers, drawn, classes, (origin.name, origin.version, origin.digest), kind, settings, codes)
    _write_private(path, made)


def _sample_slice(values: Mask, matrix: NDArray[np.float64], shape: tuple[int, int]) -> Mask:
    """Sample a slice of another grid at the nearest voxels; `matrix` (3, 3) brings its (column, row, 1) to their indices."""
    inside = _inside_mask(matrix, shape, values.shape)
    if not inside.any():
        return np.zeros(shape, dtype=np.uint8)
    to_values = np.stack([matrix[:, 0], matrix[:, 1], np.zeros(3)], axis=1)
    found = ndimage.affine_transform(
        values, to_values, matrix[:, 2], output_shape=(*shape, 1), output=np.uint8, order=0, mode="nearest", prefilter=False
    )
    return np.asarray(found[..., 0] * inside, dtype=np.uint8)


def _inside_mask(matrix: NDArray[np.float64], shape: tuple[int, int], box: tuple[int, ...]) -> NDArray[np.bool_]:
    columns, rows = np.arange(shape[0])[:, np.newaxis], np.arange(shape[1])
    inside = np.ones(shape, dtype=bool)
    for (column, row, start), size in zip(matrix, box, strict=True):
        place = column * columns + row * rows + start
        inside &= (place >= -_HALF_VOXEL - 1e-6) & (place <= size - 1 + _HALF_VOXEL + 1e-6)
    return inside


def _check_grid(mask: NDArray[Any], grid: SourceGrid, axes: tuple[int, ...] = (3,)) -> None:
    if len(grid.shape) not in axes or mask.shape != grid.shape:
        what = "the mask does not lie on the grid of the image."
        raise DataError("PRED-GRID", what, "Bring it there with medfl.data.preprocess.undo.resample_to_source.")
    _check_classes(mask)


def _check_classes(mask: NDArray[Any]) -> None:
    """Refuse numbers that a mask of uint8 does not hold, so that none becomes another."""
    if mask.dtype == np.uint8 or mask.dtype.kind == "b" or not mask.size:
        return
    if mask.dtype.kind not in "iu" or mask.min() < 0 or mask.max() > np.iinfo(np.uint8).max:
        what = "the mask holds values that are not whole numbers from 0 to 255."
        raise DataError("PRED-GRID", what, "Give the number of the class of each voxel.")


def _write_private(path: Path, data: bytes) -> None:
    with translate_write_errors():
        write_file(path, data, private=True)


@contextmanager
def translate_write_errors() -> Iterator[None]:
    """Turn a failure to write predictions into the error for it, which names neither path nor patient.

    Raises
    ------
    DataError
        ``PRED-WRITE``.
    DiskFullError
        ``DISK-FULL``.
    """
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise DiskFullError(
                "DISK-FULL", "there is no room for the prediction.", "Make room, then write it again."
            ) from None
        what = "the prediction could not be written."
        raise DataError("PRED-WRITE", what, "Check the folder, disk and permissions.") from None
