"""Header of a NIfTI file, checked for what it says of the voxels: their order, number, type, scale and where they begin."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError

from medfl.data.nifti_content import NiftiContent, truncated_error
from medfl.errors import DataError

CONVERT_AGAIN = "Convert it again from the DICOM."
_BEGINNING = 1024  # bytes by which nibabel tells other kinds of images
_KINDS = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}  # by the value of sizeof_hdr
_SINGLE_OFFSET = {348: 352, 540: 544}  # where the voxels of a single file begin at the earliest: header and extension flag
_MAX_AXES = 7
_MAX_OFFSET = 2**26  # bytes of header extensions; a compressed file would be inflated up to there


@dataclass(frozen=True)
class NiftiHeader:
    """What a header says, unscaled and without its position.

    Parameters
    ----------
    fields : nibabel.Nifti1Header
        Header of NIfTI-1 or NIfTI-2.
    shape : tuple of int
        Length of each axis.
    offset : int
        Byte at which the voxels begin.
    offset_stated : bool
        Whether the header says so; if not, it is the earliest byte at which they can begin.
    """

    fields: Any
    shape: tuple[int, ...]
    offset: int
    offset_stated: bool

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored numbers, in the byte order of the file.

        Raises
        ------
        DataError
            ``NII-DTYPE``.
        """
        dtype: np.dtype[Any] = self.fields.get_data_dtype()
        if dtype.kind not in "iufb":
            raise DataError("NII-DTYPE", "the voxels are complex numbers or colours.", "Convert it to grey values.")
        return dtype

    @property
    def scale(self) -> tuple[float, float]:
        """Slope and intercept; a slope of 0 or NaN means none.

        Raises
        ------
        DataError
            ``NII-HEADER``: nibabel takes an infinite slope for none.
        """
        slope, inter = float(self.fields["scl_slope"]), float(self.fields["scl_inter"])
        if math.isnan(slope) or slope == 0:
            return 1.0, 0.0
        if not (math.isfinite(slope) and math.isfinite(inter)):
            raise header_error("the scale of the grey values is damaged.")
        return slope, inter


def read_nifti_header(content: NiftiContent, path: Path) -> NiftiHeader:
    """Read and check a header from the beginning of a file.

    Raises
    ------
    DataError
        ``IMG-FORMAT``, ``NII-FORMAT``, ``NII-TRUNCATED``, ``NII-HEADER`` or ``FILE-DAMAGED``.
    """
    beginning = content.peek(_BEGINNING)
    if not beginning:
        raise truncated_error()
    for order in ("<", ">"):
        length = int(np.frombuffer(beginning[:4].ljust(4, b"\0"), f"{order}i4")[0])
        if length in _KINDS:
            if len(beginning) < length:
                raise truncated_error()
            return _parse_header(beginning[:length], length, order)
    if _is_another_kind(beginning, path):
        fix = "Convert it to NIfTI: FreeSurfer's .mgz with 'mri_convert', other kinds with 3D Slicer."
        raise DataError("IMG-FORMAT", "the file is an image of another kind than NIfTI.", fix)
    raise _format_error()


def header_error(what: str) -> DataError:
    """Return the error for a header that is damaged."""
    return DataError("NII-HEADER", what, CONVERT_AGAIN)


def _format_error() -> DataError:
    return DataError("NII-FORMAT", "the file is not a NIfTI image, or its header is damaged.", CONVERT_AGAIN)


def _parse_header(block: bytes, length: int, order: str) -> NiftiHeader:
    raw = _KINDS[length](block, order, check=False)
    if raw["magic"].item() not in (raw.single_magic, raw.pair_magic):
        raise _format_error()  # ANALYZE 7.5, or no image at all
    axes = int(raw["dim"][0])
    if not 1 <= axes <= _MAX_AXES or (raw["dim"][1 : axes + 1] < 1).any():
        raise header_error("the header gives no usable number of voxels along each axis.")
    offset = _read_offset(raw, _SINGLE_OFFSET[length])
    raw["vox_offset"] = 0  # judged here
    try:
        raw.check_fix()
    except HeaderDataError:
        raise _format_error() from None
    shape = tuple(int(side) for side in raw["dim"][1 : axes + 1])
    return NiftiHeader(raw, shape, offset or _SINGLE_OFFSET[length], bool(offset))


def _read_offset(raw: Any, earliest: int) -> int:
    """Return where the voxels begin, or 0 when the header does not say: many programs leave it out."""
    value = float(raw["vox_offset"])
    if value == 0:
        return 0
    if not (math.isfinite(value) and value.is_integer() and earliest <= value <= _MAX_OFFSET):
        raise header_error("the header gives no usable position of the voxels in the file (vox_offset).")
    return int(value)


def _is_another_kind(beginning: bytes, path: Path) -> bool:
    try:
        others = [kind for kind in nibabel.imageclasses.all_image_classes if not issubclass(kind, nibabel.Nifti1Pair)]
        return any(kind.path_maybe_image(path, (beginning, str(path)))[0] for kind in others)
    except Exception:  # nibabel raises many kinds, and their texts hold the path
        return False
