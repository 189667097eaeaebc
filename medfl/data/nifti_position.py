"""Position of a NIfTI file in the patient: what qform and sform say, refused where they are missing, differ or are unusable."""

from __future__ import annotations

from typing import Literal

import numpy as np

from medfl.data.nifti_header import CONVERT_AGAIN, NiftiHeader, header_error
from medfl.data.pictures.geometry import PictureGeometry, check_pixel_size, picture_of_patient, plane_affine
from medfl.data.pictures.turn import affine_directions
from medfl.data.volume import Affine, affine_to_spacing, corner_distance
from medfl.errors import DataError

NiftiForm = Literal["strict", "sform", "qform"]

FORM_TOLERANCE_MM = 0.1  # qform and sform may differ by this much at a corner: rounding of the quaternion
_MIN_PIXEL_MM2 = 1e-9  # area of a pixel of a usable matrix
_MAX_SHEAR_VOXELS = 0.5  # voxels that one axis may drift along another over its whole length


def read_affine(header: NiftiHeader, form: NiftiForm) -> Affine:
    """Return the position of a volume, 4 x 4.

    Raises
    ------
    DataError
        ``NII-HEADER``, ``NII-NOFORM``, ``NII-FORMS``, ``NII-UNITS`` or ``NII-SHEAR``.
    """
    forms = _read_forms(header)
    if not forms:
        what = "the file has no orientation (the codes of qform and sform are both 0), so left and right are unknown."
        raise DataError("NII-NOFORM", what, CONVERT_AGAIN)
    affine = forms.get(form, next(iter(forms.values())))
    _check_usable(affine)
    if len(forms) == 2 and form == "strict":
        _check_forms_agree(forms["sform"], forms["qform"], header.shape[:3])
    if int(header.fields["xyzt_units"]) & 7 in (1, 3):
        raise DataError("NII-UNITS", "the header states metres or micrometres instead of millimetres.", CONVERT_AGAIN)
    _check_shear(affine, header.shape[:3])
    return affine


def read_picture_geometry(header: NiftiHeader, form: NiftiForm) -> PictureGeometry:
    """Return the geometry of a picture: one slice of any plane, whose third axis may be any of the three.

    Without a position it stays as stored. The slice's own thickness and normal do not matter.

    Raises
    ------
    DataError
        ``NII-HEADER``, ``NII-FORMS``, ``NII-SHEAR`` or ``IMG-SPACING``.
    """
    one, other = slice_axes(header.shape)
    shape = header.shape[one], header.shape[other]
    forms = {name: _slice_affine(affine, one, other) for name, affine in _read_forms(header).items()}
    affine = forms.get(form, next(iter(forms.values()), None))
    if affine is None:
        zooms = [float(zoom) for zoom in header.fields.get_zooms()]
        return PictureGeometry(shape, pixel_size=check_pixel_size(zooms[one], zooms[other]))
    if len(forms) == 2 and form == "strict":
        _check_forms_agree(forms["sform"], forms["qform"], shape)
    _check_shear(affine, shape)
    pixel_size = check_pixel_size(*affine_to_spacing(affine)[:2])
    return picture_of_patient(shape, affine_directions(affine), pixel_size, affine)


def slice_axes(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the two axes along which a picture runs: not that of the slices, which has one voxel.

    Examples
    --------
    >>> slice_axes((40, 1, 30))
    (0, 2)
    >>> slice_axes((40, 30))
    (0, 1)
    """
    if len(shape) < 3 or shape[2] == 1 or 1 not in shape[:2]:
        return 0, 1
    return (0, 2) if shape[1] == 1 else (1, 2)


def _slice_affine(affine: Affine, one: int, other: int) -> Affine:
    x, y = affine[:3, one], affine[:3, other]
    if not np.isfinite(affine).all() or np.linalg.norm(np.cross(x, y)) < _MIN_PIXEL_MM2:
        raise header_error("the position in the header is not a usable matrix.")
    return plane_affine(affine[:3, 3], x, y)


def _read_forms(header: NiftiHeader) -> dict[str, Affine]:
    """Return the positions that the header states, the one that counts first."""
    try:
        found = {"sform": header.fields.get_sform(coded=True), "qform": header.fields.get_qform(coded=True)}
    except Exception:  # HeaderDataError, LinAlgError: the quaternion is no rotation
        raise header_error("the position in the header is damaged.") from None
    return {name: np.asarray(affine, dtype=np.float64) for name, (affine, code) in found.items() if code}


def _check_usable(affine: Affine) -> None:
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise header_error("the position in the header is not a usable matrix.")


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
