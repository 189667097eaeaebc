"""Reader of NIfTI files; those with no position in the patient, or with two that differ, are refused."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfl.data.library_output import silence_libraries
from medfl.data.mask_values import iter_slices, unscale
from medfl.data.nifti_content import NiftiContent, open_content
from medfl.data.nifti_header import NiftiHeader, header_error, read_nifti_header
from medfl.data.nifti_position import read_affine, read_picture_geometry, slice_axes
from medfl.data.pictures.geometry import PictureGeometry
from medfl.data.prediction_marks import is_unchanged_mask, predicted_label_error
from medfl.data.size_limits import check_declared_size
from medfl.data.volume import Affine, Volume
from medfl.errors import DataError
from medfl.site import SiteData
from medfl.system.text import plural

_DEFAULTS = SiteData()


def read_nifti(path: Path, *, channels: int = 1, dimension: int = 3, settings: SiteData = _DEFAULTS) -> Volume:
    """Read a NIfTI-1 or NIfTI-2 file as an image.

    Parameters
    ----------
    path : Path
        A file, compressed with gzip or not, whatever its name says.
    channels : int
        A 4-D file is read as channels when its fourth axis has this length, and is refused otherwise.
    dimension : {2, 3}
        Dimension of the image. For 2 the file holds one slice of any plane.
    settings : SiteData
        The site's `nifti_form`, the position that counts where the header states two that differ, `max_megapixels` and
        `max_megavoxels`.

    Returns
    -------
    Volume
        Axes in the order of the file, with the affine of the file (nothing is resampled or turned); a 2-D image by the
        convention of `medfl.data.volume.Volume`.

    Raises
    ------
    DataError
        ``IMG-MISSING``, ``IMG-FORMAT``, ``IMG-LARGE``, ``FILE-DAMAGED``, ``NII-FORMAT``, ``NII-TRUNCATED``, ``NII-HEADER``,
        ``NII-NOFORM``, ``NII-FORMS``, ``NII-UNITS``, ``NII-SHEAR``, ``NII-4D``, ``NII-DTYPE`` or ``IMG-DIMENSION``.
    OSError
        When the disk cannot be read.
    """
    with silence_libraries(), _open(path, whole=True) as (content, header):
        affine = read_affine(header, settings.nifti_form) if dimension == 3 else np.eye(4)
        shape = _squeeze_shape(header.shape, channels, dimension)
        check_declared_size(shape, settings)
        picture = read_picture_geometry(header, settings.nifti_form) if dimension == 2 else None
        array = _scale(_read_stored(content, header), header).reshape(shape, order="F")
    array = array[np.newaxis] if len(shape) == dimension else np.moveaxis(array, -1, 0)
    return Volume(array, affine) if picture is None else Volume(picture.arrange(array), picture=picture)


def read_nifti_mask(path: Path, *, settings: SiteData = _DEFAULTS) -> tuple[NDArray[Any], Affine]:
    """Read a NIfTI file as a mask: values of the type that is stored, so that a large mask takes little memory.

    Parameters and errors are those of `read_nifti`; ``LBL-CHANNELS`` for several images, ``LBL-VALUES`` for stored whole
    numbers that a scale turns into others, ``LBL-PREDICTED`` for a mask that medfl predicted.

    Returns
    -------
    values : ndarray
        (X, Y, Z).
    affine : ndarray
        4 x 4.
    """
    with silence_libraries(), _open(path, whole=True) as (content, header):
        affine = read_affine(header, settings.nifti_form)
        return _read_mask_values(content, header, _squeeze_mask_shape(header.shape, 3), settings), affine


def read_nifti_picture_mask(path: Path, *, settings: SiteData = _DEFAULTS) -> tuple[NDArray[Any], PictureGeometry]:
    """Read a NIfTI file of one slice as a mask, (X, Y) as stored, with its geometry; otherwise as `read_nifti_mask`."""
    with silence_libraries(), _open(path, whole=True) as (content, header):
        shape = _squeeze_mask_shape(header.shape, 2)
        geometry = read_picture_geometry(header, settings.nifti_form)
        return _read_mask_values(content, header, shape, settings), geometry


def _read_mask_values(content: NiftiContent, header: NiftiHeader, shape: tuple[int, ...], settings: SiteData) -> NDArray[Any]:
    check_declared_size(shape, settings)
    stored = _read_stored(content, header)
    if not settings.allow_predictions and is_unchanged_mask(_read_description(header), stored):
        raise predicted_label_error()
    if stored.dtype.kind in "iub":
        values = stored if header.scale == (1.0, 0.0) else unscale(stored, *header.scale)
    else:
        values = _scale(stored, header)
    return values.reshape(shape, order="F")


def _read_description(header: NiftiHeader) -> str:
    return bytes(header.fields["descrip"].item()).decode("ascii", "replace")


def read_nifti_extent(
    path: Path, *, channels: int = 1, dimension: int = 3, settings: SiteData = _DEFAULTS
) -> tuple[tuple[int, ...], Affine]:
    """Return the shape, channels last if there are several, and the affine that a header states; no voxel is read.

    Parameters and errors are those of `read_nifti`, but for those of the voxels.
    """
    with silence_libraries(), _open(path, whole=False) as (_, header):
        shape = _squeeze_shape(header.shape, channels, dimension)
        check_declared_size(shape, settings)
        if dimension == 3:
            return shape, read_affine(header, settings.nifti_form)
        return (*read_picture_geometry(header, settings.nifti_form).size, *shape[2:]), np.eye(4)


def read_nifti_shape(path: Path) -> tuple[int, ...]:
    """Return the length of each axis that a header states. Errors are those of `read_nifti_extent`."""
    with silence_libraries(), _open(path, whole=False) as (_, header):
        return header.shape


def read_nifti_values(path: Path, settings: SiteData = _DEFAULTS) -> NDArray[np.float32]:
    """Return the values, whatever their axes and position: for a look at a file. Errors are those of `read_nifti`."""
    with silence_libraries(), _open(path, whole=True) as (content, header):
        check_declared_size((*header.shape, 1, 1), settings)
        return _scale(_read_stored(content, header), header)


@contextmanager
def _open(path: Path, *, whole: bool) -> Iterator[tuple[NiftiContent, NiftiHeader]]:
    """Open a file; where something is wrong with one that is to be read whole, a checksum that differs is the reason."""
    if not path.is_file():
        raise DataError("IMG-MISSING", "the file does not exist.", "Check the index, or copy the file again.")
    with open_content(path) as content:
        try:
            yield content, read_nifti_header(content, path)
        except DataError:
            if whole:
                content.verify()
            raise


def _read_stored(content: NiftiContent, header: NiftiHeader) -> NDArray[Any]:
    """Return the stored numbers; there must be as many as the header says, neither fewer nor more."""
    dtype, count = header.dtype, math.prod(header.shape)
    try:
        stored = content.read_array(header.offset, count * dtype.itemsize)
    except DataError as error:
        if error.code != "NII-TRUNCATED" or header.offset_stated:
            raise
        raise header_error("the header does not say where the voxels begin, and they do not lie right behind it.") from None
    if content.has_surplus(header.offset + stored.nbytes, plane=math.prod(header.shape[:2]) * dtype.itemsize):
        raise header_error("the file holds more bytes than the voxels that its header declares.")
    return stored.view(dtype).reshape(header.shape, order="F")


def _scale(stored: NDArray[Any], header: NiftiHeader) -> NDArray[np.float32]:
    """Return the grey values, scaled slice by slice: nibabel would scale a whole volume in double precision."""
    slope, inter = header.scale
    array = np.empty(stored.shape, dtype=np.float32, order="F")
    for source, target in zip(iter_slices(stored), iter_slices(array), strict=True):
        target[...] = source if (slope, inter) == (1.0, 0.0) else source * slope + inter
    return array


def _squeeze_mask_shape(shape: tuple[int, ...], dimension: int) -> tuple[int, ...]:
    try:
        return _squeeze_shape(shape, 1, dimension)
    except DataError as error:
        if error.code != "NII-4D":
            raise
        count = math.prod(shape[dimension:])
        what = f"the mask holds {count} images instead of one, such as a channel for each class."
        fix = "Write one mask whose values are the numbers of the classes, after checking that no voxel is in two channels."
        raise DataError("LBL-CHANNELS", what, fix) from None


def _squeeze_shape(shape: tuple[int, ...], channels: int, dimension: int) -> tuple[int, ...]:
    """Return the shape without axes of one, and with the channels last if there are several."""
    if dimension == 2 and len(shape) > 2 and slice_axes(shape) != (0, 1):  # a coronal or sagittal slice
        one, other = slice_axes(shape)
        shape = (shape[one], shape[other], *shape[3:])
    while len(shape) > dimension and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) == dimension + 2 and shape[-2] == 1:  # NIfTI's own place for vectors is the fifth axis
        shape = (*shape[:-2], shape[-1])
    if len(shape) < dimension:
        what = f"the image has {len(shape)} axes, the study needs {dimension}."
        raise DataError("IMG-DIMENSION", what, "Use the original volume.")
    if len(shape) == dimension or (len(shape) == dimension + 1 and channels > 1 and shape[-1] == channels):
        return shape
    what = f"the file holds {plural(math.prod(shape[dimension:]), 'image')}; the study has {channels} channel(s)."
    raise DataError("NII-4D", what, "Take the one that is meant out of the series, or set 'channels' in the study.")
