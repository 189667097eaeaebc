"""Reader of NIfTI files; those with no position in the patient, or with two that differ, are refused."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.fileholders import FileHolder
from nibabel.openers import ImageOpener
from numpy.typing import NDArray

from medfl.data.library_output import silence_libraries
from medfl.data.mask_values import iter_slices
from medfl.data.volume import Affine, Volume, affine_to_spacing, corner_distance
from medfl.errors import DataError

NiftiForm = Literal["strict", "sform", "qform"]

FORM_TOLERANCE_MM = 0.1  # qform and sform may differ by this much at a corner: rounding of the quaternion
_MAX_SHEAR_VOXELS = 0.5  # voxels that one axis may drift along another over its whole length
_TRUNCATION_ERRORS = (EOFError, OSError, zlib.error, ValueError)
_MAGIC_BYTES = 1024  # bytes by which nibabel recognises the kind of a file
_CONVERT_AGAIN = "Convert it again from the DICOM."


def read_nifti(path: Path, *, channels: int = 1, dimension: int = 3, form: NiftiForm = "strict") -> Volume:
    """Read a NIfTI-1 or NIfTI-2 file as an image.

    Parameters
    ----------
    path : Path
        A ``.nii`` or ``.nii.gz`` file.
    channels : int
        A 4-D file is read as channels when its fourth axis has this length, and is refused otherwise.
    dimension : {2, 3}
        Dimension of the image. For 2 the file holds one image; its place in the patient does not matter then.
    form : {"strict", "sform", "qform"}
        Position that counts where the header states two that differ; ``"strict"`` refuses such a file.

    Returns
    -------
    Volume
        Axes in the order of the file, with the affine of the file (nothing is resampled or turned).

    Raises
    ------
    DataError
        ``IMG-MISSING``, ``IMG-FORMAT``, ``NII-FORMAT``, ``NII-TRUNCATED``, ``NII-HEADER``, ``NII-NOFORM``, ``NII-FORMS``,
        ``NII-UNITS``, ``NII-SHEAR``, ``NII-4D``, ``NII-DTYPE`` or ``IMG-DIMENSION``.
    """
    with silence_libraries(), _open_image(path) as image:
        affine = _read_affine(image, form) if dimension == 3 else np.eye(4)
        shape = _squeeze_shape(image.shape, channels, dimension)
        array = _read_scaled(image).reshape(shape, order="F")
    return Volume(array[np.newaxis] if len(shape) == dimension else np.moveaxis(array, -1, 0), affine)


def read_nifti_mask(path: Path, *, dimension: int = 3, form: NiftiForm = "strict") -> tuple[NDArray[Any], Affine | None]:
    """Read a NIfTI file as a mask: values of the type that is stored, so that a large mask takes little memory.

    Parameters and errors are those of `read_nifti`.

    Returns
    -------
    values : ndarray
        (X, Y[, Z]).
    affine : ndarray or None
        4 x 4; None for a 2-D image without a position.
    """
    with silence_libraries(), _open_image(path) as image:
        affine = _read_affine(image, form) if dimension == 3 else _read_affine_2d(image, form)
        shape = _squeeze_shape(image.shape, 1, dimension)
        plain = (image.dataobj.slope, image.dataobj.inter) == (1.0, 0.0) and _check_dtype(image).kind in "iub"
        values = _read_unscaled(image) if plain else _read_scaled(image)
        return values.reshape(shape, order="F"), affine


def read_nifti_affine_2d(path: Path, *, form: NiftiForm = "strict") -> Affine | None:
    """Return the position of a 2-D image, or None when it has none.

    Raises
    ------
    DataError
        ``IMG-MISSING``, ``IMG-FORMAT``, ``NII-FORMAT``, ``NII-TRUNCATED`` or ``NII-HEADER``.
    """
    with silence_libraries(), _open_image(path) as image:
        return _read_affine_2d(image, form)


def read_nifti_extent(
    path: Path, *, channels: int = 1, dimension: int = 3, form: NiftiForm = "strict"
) -> tuple[tuple[int, ...], Affine]:
    """Return the shape, channels last if there are several, and the affine that a header states; no voxel is read.

    Parameters and errors are those of `read_nifti`, but for those of the voxels.
    """
    with silence_libraries(), _open_image(path) as image:
        return _squeeze_shape(image.shape, channels, dimension), _read_affine(image, form) if dimension == 3 else np.eye(4)


def read_nifti_grid(path: Path) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return the shape and the voxel size in millimetres that a header states, of at most three axes and unchecked.

    Raises
    ------
    DataError
        ``IMG-MISSING``, ``IMG-FORMAT``, ``NII-FORMAT`` or ``NII-TRUNCATED``.
    """
    with silence_libraries(), _open_image(path) as image:
        return tuple(map(int, image.header.get_data_shape()[:3])), tuple(map(float, image.header.get_zooms()[:3]))


@contextmanager
def _open_image(path: Path) -> Iterator[Any]:
    """Open a file once for its header and its voxels; `nibabel.load` would open it anew for each step."""
    if not path.is_file():
        raise DataError("IMG-MISSING", "the file does not exist.", "Check the index, or copy the file again.")
    with ExitStack() as stack:
        try:
            file = stack.enter_context(ImageOpener(os.fspath(path), "rb"))
            image = _parse_image(file.fobj, os.fspath(path))
        except (EOFError, zlib.error):
            raise _truncated_error() from None
        except Exception:  # nibabel raises many kinds, and their texts hold the path
            if _is_truncated(path):
                raise _truncated_error() from None
            raise DataError("NII-FORMAT", "the file is not a NIfTI image, or its header is damaged.", _CONVERT_AGAIN) from None
        if not isinstance(image, nibabel.nifti1.Nifti1Pair):
            fix = "Convert it to NIfTI: FreeSurfer's .mgz with 'mri_convert', other kinds with 3D Slicer."
            raise DataError("IMG-FORMAT", "the file is an image of another kind than NIfTI.", fix)
        yield image


def _parse_image(file: Any, path: str) -> Any:
    """Return the image that an open file holds, of the class that `nibabel.load` would choose."""
    try:
        beginning = file.read(_MAGIC_BYTES), path
    except (EOFError, OSError, zlib.error):
        raise ImageFileError("damaged from the first bytes on") from None
    for kind in nibabel.imageclasses.all_image_classes:
        fits, beginning = kind.path_maybe_image(path, beginning)
        if fits:
            holders = {name: FileHolder(path, file) for name, _ in kind.files_types}
            return kind.from_file_map(holders) if len(holders) == 1 else kind.from_filename(path)
    raise ImageFileError("of no kind that nibabel knows")


def _is_truncated(path: Path) -> bool:
    """Return whether a file is empty, or compressed and cut so early that nibabel cannot tell what it is."""
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
            return not file.read(_MAGIC_BYTES)
    except EOFError:
        return True
    except (OSError, zlib.error):
        return False


def _truncated_error() -> DataError:
    return DataError("NII-TRUNCATED", "the file ends early (damaged or cut).", "Copy or convert it again.")


def _check_dtype(image: Any) -> np.dtype[Any]:
    dtype: np.dtype[Any] = image.header.get_data_dtype()
    if dtype.kind not in "iufb":
        raise DataError("NII-DTYPE", "the voxels are complex numbers or colours.", "Convert it to grey values.")
    return dtype


def _read_unscaled(image: Any) -> NDArray[Any]:
    _check_dtype(image)
    _check_scale(image)
    try:
        return np.asarray(image.dataobj.get_unscaled())
    except _TRUNCATION_ERRORS:
        raise _truncated_error() from None


def _check_scale(image: Any) -> None:
    """Refuse an infinite slope, which nibabel takes for none; 0 and NaN do mean none.

    A damaged intercept is refused by nibabel itself, when the file is opened.
    """
    files = image.file_map
    try:
        with files["header" if "header" in files else "image"].get_prepare_fileobj("rb") as file:
            stored = image.header_class.from_fileobj(file, check=False)
    except _TRUNCATION_ERRORS:
        raise _truncated_error() from None
    if math.isinf(stored["scl_slope"]):
        raise DataError("NII-HEADER", "the scale of the grey values is damaged.", _CONVERT_AGAIN)


def _read_scaled(image: Any) -> NDArray[np.float32]:
    """Return the grey values, scaled slice by slice: nibabel would scale a whole volume in double precision."""
    raw = _read_unscaled(image)
    slope, inter = float(image.dataobj.slope), float(image.dataobj.inter)
    array = np.empty(raw.shape, dtype=np.float32, order="F")
    try:
        for stored, target in zip(iter_slices(raw), iter_slices(array), strict=True):
            target[...] = stored if (slope, inter) == (1.0, 0.0) else stored * slope + inter
    except _TRUNCATION_ERRORS:  # a file that was cut while it was mapped
        raise _truncated_error() from None
    return array


def _squeeze_shape(shape: tuple[int, ...], channels: int, dimension: int) -> tuple[int, ...]:
    """Return the shape without axes of one, and with the channels last if there are several."""
    while len(shape) > dimension and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) == dimension + 2 and shape[-2] == 1:  # NIfTI's own place for vectors is the fifth axis
        shape = (*shape[:-2], shape[-1])
    if len(shape) < dimension:
        what = f"the image has {len(shape)} axes, the study needs {dimension}."
        raise DataError("IMG-DIMENSION", what, "Use the original volume.")
    if len(shape) == dimension or (len(shape) == dimension + 1 and channels > 1 and shape[-1] == channels):
        return shape
    what = f"the file holds {math.prod(shape[dimension:])} images; the study has {channels} channel(s)."
    raise DataError("NII-4D", what, "Take the one that is meant out of the series, or set 'channels' in the study.")


def _read_forms(image: Any) -> dict[str, Affine]:
    """Return the positions that the header states, the one that counts first."""
    try:
        found = {"sform": image.header.get_sform(coded=True), "qform": image.header.get_qform(coded=True)}
    except Exception:  # HeaderDataError, LinAlgError: the quaternion is no rotation
        raise DataError("NII-HEADER", "the position in the header is damaged.", _CONVERT_AGAIN) from None
    return {name: np.asarray(affine, dtype=np.float64) for name, (affine, code) in found.items() if code}


def _read_affine_2d(image: Any, form: NiftiForm) -> Affine | None:
    forms = _read_forms(image)
    affine = forms.get(form, next(iter(forms.values()), None))
    if affine is None:
        return None
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    if not affine[:3, 2].any() and normal.any():
        affine[:3, 2] = normal / np.linalg.norm(normal)  # a header may leave out the axis that a picture does not have
    _check_usable(affine)
    return affine


def _read_affine(image: Any, form: NiftiForm) -> Affine:
    forms = _read_forms(image)
    if not forms:
        what = "the file has no orientation (the codes of qform and sform are both 0), so left and right are unknown."
        raise DataError("NII-NOFORM", what, _CONVERT_AGAIN)
    affine = forms.get(form, next(iter(forms.values())))
    _check_usable(affine)
    if len(forms) == 2 and form == "strict":
        _check_forms_agree(forms["sform"], forms["qform"], tuple(image.shape[:3]))
    if int(image.header["xyzt_units"]) & 7 in (1, 3):
        raise DataError("NII-UNITS", "the header states metres or micrometres instead of millimetres.", _CONVERT_AGAIN)
    _check_shear(affine, tuple(image.shape[:3]))
    return affine


def _check_usable(affine: Affine) -> None:
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise DataError("NII-HEADER", "the position in the header is not a usable matrix.", _CONVERT_AGAIN)


def _check_forms_agree(sform: Affine, qform: Affine, shape: tuple[int, ...]) -> None:
    distance = corner_distance(sform, qform, shape)
    if not distance <= FORM_TOLERANCE_MM:
        what = f"the two positions in the header (qform and sform) differ by {distance:.1f} mm, so programs disagree about it."
        fix = "Write the file again from the DICOM, or set nifti-form in site.toml to the one that is right."
        raise DataError("NII-FORMS", what, fix)


def _check_shear(affine: Affine, shape: tuple[int, ...]) -> None:
    """Refuse axes that are not perpendicular: every later step, and every network, takes voxels for boxes."""
    spacing = affine_to_spacing(affine)
    axes = affine[:3, :3] / spacing
    for one, other in ((0, 1), (0, 2), (1, 2)):
        cosine = abs(float(axes[:, one] @ axes[:, other]))
        length = max(spacing[axis] * (size - 1) for axis, size in enumerate(shape) if axis in (one, other))
        if cosine * length > _MAX_SHEAR_VOXELS * min(spacing):
            angle = np.degrees(np.arccos(min(cosine, 1.0)))
            what = f"the axes of the volume stand at {angle:.1f} degrees to each other, not at 90."
            fix = "Resample it to perpendicular axes, as dcm2niix does for a tilted gantry and registration tools on request."
            raise DataError("NII-SHEAR", what, fix)
