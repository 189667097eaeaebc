"""Reading NIfTI files, and refusing those whose place in the patient is unknown or told in two ways."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from medfl.data.quiet import quiet
from medfl.data.volume import Affine, Volume, corner_distance
from medfl.errors import DataError

FORMS_MM = 0.1  # qform and sform may differ by this much at a corner: rounding of the quaternion
_ENDS_EARLY = (EOFError, OSError, zlib.error, ValueError)
_SNIFFED = 1024  # bytes by which nibabel tells the kind of a file
_AGAIN = "Convert it again from the DICOM."


def read_nifti(path: Path, *, channels: int = 1, dimension: int = 3) -> Volume:
    """Read a NIfTI-1 or NIfTI-2 file.

    Parameters
    ----------
    path : Path
        A ``.nii`` or ``.nii.gz`` file.
    channels : int
        A 4-D file is read as channels when its fourth axis has this length, and is refused otherwise.
    dimension : {2, 3}
        For 2 the file holds one image; its place in the patient does not matter then.

    Returns
    -------
    Volume
        Axes in the order of the file, with the affine of the file (nothing is resampled or turned).

    Raises
    ------
    DataError
        ``IMG-MISSING``, ``NII-FORMAT``, ``NII-TRUNCATED``, ``NII-HEADER``, ``NII-NOFORM``, ``NII-FORMS``, ``NII-UNITS``,
        ``NII-4D``, ``NII-DTYPE`` or ``IMG-DIMENSION``.
    """
    with quiet():
        image = _open(path)
        affine = _affine(image, dimension)
        array = _grey(image)
    array = _channels_first(array, channels, dimension)
    return Volume(array, affine if dimension == 3 else np.eye(4))


def _open(path: Path) -> Any:
    if not path.is_file():
        raise DataError("IMG-MISSING", "the file does not exist.", "Check the index, or copy the file again.")
    try:
        image = nibabel.load(path)
    except (EOFError, zlib.error):
        raise _truncated() from None
    except Exception:  # nibabel raises many kinds, and their texts hold the path
        if _is_cut(path):
            raise _truncated() from None
        raise DataError("NII-FORMAT", "the file is not a NIfTI image, or its header is damaged.", _AGAIN) from None
    if not isinstance(image, nibabel.nifti1.Nifti1Pair):
        raise DataError("NII-FORMAT", "the file is an image of another kind than NIfTI.", "Convert it to NIfTI.")
    return image


def _is_cut(path: Path) -> bool:
    """Return whether a file is empty, or compressed and cut so early that nibabel can not tell what it is."""
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
            return not file.read(_SNIFFED)
    except EOFError:
        return True
    except (OSError, zlib.error):
        return False


def _truncated() -> DataError:
    return DataError("NII-TRUNCATED", "the file ends early (damaged or cut).", "Copy or convert it again.")


def _grey(image: Any) -> NDArray[np.float32]:
    dtype = image.header.get_data_dtype()
    if dtype.kind not in "iufb":
        raise DataError("NII-DTYPE", "the voxels are complex numbers or colours.", "Convert it to grey values.")
    try:
        return np.asarray(image.dataobj, dtype=np.float32)
    except _ENDS_EARLY:
        raise _truncated() from None


def _affine(image: Any, dimension: int) -> Affine:
    if dimension == 2:
        return np.eye(4)
    header = image.header
    try:
        qform, qcode = header.get_qform(coded=True)
        sform, scode = header.get_sform(coded=True)
    except Exception:  # HeaderDataError, LinAlgError: the quaternion is no rotation
        raise DataError("NII-HEADER", "the position in the header is damaged.", _AGAIN) from None
    if not qcode and not scode:
        what = "the file has no orientation (the codes of qform and sform are both 0), so left and right are unknown."
        raise DataError("NII-NOFORM", what, _AGAIN)
    affine = np.asarray(sform if scode else qform, dtype=np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise DataError("NII-HEADER", "the position in the header is not a usable matrix.", _AGAIN)
    if qcode and scode:
        distance = corner_distance(affine, np.asarray(qform, dtype=np.float64), tuple(image.shape[:3]))
        if not distance <= FORMS_MM:
            what = (
                f"the two positions in the header (qform and sform) differ by {distance:.1f} mm, so programs disagree about it."
            )
            raise DataError("NII-FORMS", what, _AGAIN)
    if int(header["xyzt_units"]) & 7 in (1, 3):
        raise DataError("NII-UNITS", "the header states metres or micrometres instead of millimetres.", _AGAIN)
    return affine


def _channels_first(array: NDArray[np.float32], channels: int, dimension: int) -> NDArray[np.float32]:
    while array.ndim > dimension and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim == dimension + 2 and array.shape[-2] == 1:  # NIfTI's own place for vectors is the fifth axis
        array = array[..., 0, :]
    if array.ndim == dimension:
        return array[np.newaxis]
    if array.ndim < dimension:
        raise DataError(
            "IMG-DIMENSION", f"the image has {array.ndim} axes, the study needs {dimension}.", "Use the original volume."
        )
    if array.ndim == dimension + 1 and channels > 1 and array.shape[-1] == channels:
        return np.moveaxis(array, -1, 0)
    what = f"the file holds {int(np.prod(array.shape[dimension:]))} images; the study has {channels} channel(s)."
    raise DataError("NII-4D", what, "Take the one that is meant out of the series, or set 'channels' in the study.")
