"""Reader of a DICOM series as a volume."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medfl.data.dicom.acquisitions import is_told_apart
from medfl.data.dicom.alternation import check_alternation
from medfl.data.dicom.checks import build_stack, check_series
from medfl.data.dicom.headers import Header, read_headers
from medfl.data.dicom.pixels import read_grey_values
from medfl.data.dicom.resample_stack import AIR_HU, resample_stack
from medfl.data.dicom.select import OBJECT_KEYS, parse_select, select_headers
from medfl.data.dicom.slice_stack import SliceStack
from medfl.data.dicom.sop_classes import check_burned_in
from medfl.data.volume import LPS_TO_RAS, Affine, Volume, affine_to_spacing
from medfl.errors import DataError
from medfl.site import SiteData

CONVERTIBLE_CODES = ("DCM-MOSAIC", "DCM-MIXED-FRAMES", "DCM-RESIDUAL")  # dcm2niix knows the vendors' conventions
_RESAMPLED_CODES = ("DCM-RESAMPLED", "DCM-STRAIGHTENED")
_DEFAULTS = SiteData()


def read_series(
    paths: Sequence[Path], settings: SiteData = _DEFAULTS, *, select: str = "", headers: Sequence[Header] = ()
) -> Volume:
    """Read one series of single-frame images, or one enhanced multi-frame object, as a volume.

    The headers are checked first, then each file is decoded into its part of the volume, and the positions of the slices are
    compared with the resulting grid.

    Parameters
    ----------
    paths : sequence of Path
        The files of the series, in any order.
    settings : SiteData
        What the site allows.
    select : str
        Volume to read, if the files hold several: ``"EchoTime=10; orientation=axial"``, see `medfl.data.dicom.select`.
    headers : sequence of Header
        Headers of the files; empty: they are read.

    Returns
    -------
    Volume
        Array (1, X, Y, Z), float32: columns, rows, slices, a view of memory in slice order; CT in Hounsfield units.
        RAS+ affine with perpendicular axes. `Volume.acquired_geometry` is set when the slices had to be resampled.

    Raises
    ------
    DataError
        See `medfl.data.dicom.checks`, `medfl.data.dicom.slice_stack` and `medfl.data.dicom.pixels`; ``INDEX-SELECT``, and
        ``DCM-RESIDUAL`` when grid and slices disagree.
    """
    headers = headers or read_headers(paths, force=settings.allow_headerless)
    try:
        return _read_volume(headers, settings, select)
    except DataError as error:
        conditions = parse_select(select) if error.code in CONVERTIBLE_CODES else {}
        if settings.converter != "dcm2niix" or error.code not in CONVERTIBLE_CODES or set(conditions) - set(OBJECT_KEYS):
            raise
        from medfl.data.dicom.dcm2niix import read_with_dcm2niix  # rarely needed

        selected = select_headers(headers, conditions, OBJECT_KEYS)
        check_burned_in(selected, settings)
        return read_with_dcm2niix([header.path for header in selected])


def _read_volume(headers: Sequence[Header], settings: SiteData, select: str) -> Volume:
    ordered, warnings = check_series(headers, settings, select)
    stack = build_stack(ordered)
    grey = read_grey_values(ordered, warnings, settings=settings)
    check_alternation(grey, is_ct=ordered[0].text("Modality") == "CT", is_told=is_told_apart(ordered, stack))
    if any(warning.code in _RESAMPLED_CODES for warning in warnings):
        resampled = resample_stack(grey, stack, AIR_HU if ordered[0].text("Modality") == "CT" else float(grey.min()))
        return Volume(resampled.array, resampled.affine, tuple(warnings), resampled.acquired_geometry)
    affine = _stack_affine(stack, ordered[0])
    _check_residual(affine, stack)
    return Volume(_to_columns_first(grey), LPS_TO_RAS @ affine, tuple(warnings))


def _to_columns_first(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    return grey.transpose(2, 1, 0)[np.newaxis]


def _stack_affine(stack: SliceStack, header: Header) -> Affine:
    """Return the LPS affine of uniform slices, from the first one along the normal, whatever SliceThickness says."""
    count = len(stack.positions)
    if count > 1:
        along = stack.positions_along_normal()
        step = (along[-1] - along[0]) / (count - 1)
    else:
        step = next(iter(header.numbers("SpacingBetweenSlices")), 1.0) or 1.0
    rows, columns = stack.pixel_spacing
    affine = np.eye(4)
    affine[:3, :3] = stack.axes * [columns, rows, step]
    affine[:3, 3] = stack.positions[0]
    return affine


def _check_residual(affine: Affine, stack: SliceStack) -> None:
    """Compare the positions of the slices with the grid of the volume."""
    predicted = affine[:3, 3] + np.arange(len(stack.positions))[:, np.newaxis] * affine[:3, 2]
    residual = float(np.linalg.norm(predicted - stack.positions, axis=1).max())
    if not residual <= 0.5 * min(affine_to_spacing(affine)):
        what = f"slice positions and volume differ by {residual:.2f} mm. The volume is not used."
        raise DataError("DCM-RESIDUAL", what, "Convert the series with dcm2niix, and report this to the makers of medfl.")
