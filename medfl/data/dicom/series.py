"""Reading a DICOM series as a volume."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medfl.data.dicom.checks import check_series, stack_of
from medfl.data.dicom.geometry import Stack
from medfl.data.dicom.headers import Header, read_headers
from medfl.data.dicom.kinds import check_burned_in
from medfl.data.dicom.pixels import read_grey
from medfl.data.dicom.select import OBJECTS, choose, parse_select
from medfl.data.dicom.straighten import AIR_HU, straighten
from medfl.data.volume import LPS, Affine, Volume, spacing_of
from medfl.errors import DataError
from medfl.site import SiteData

CONVERTIBLE = ("DCM-MOSAIC", "DCM-MIXED-FRAMES", "DCM-RESIDUAL")  # dcm2niix knows the vendors' ways of telling these
_RESAMPLED = ("DCM-RESAMPLED", "DCM-STRAIGHTENED")
_DEFAULTS = SiteData()


def read_series(paths: Sequence[Path], how: SiteData = _DEFAULTS, *, select: str = "") -> Volume:
    """Read one series of single-frame images, or one enhanced multi-frame object, as a volume.

    The headers are checked first, then each file is decoded into its place, and the positions of the slices are compared
    with the grid that came out.

    Parameters
    ----------
    paths : sequence of Path
        The files of the series, in any order.
    how : SiteData
        What the site allows.
    select : str
        Which volume, when the files hold several: ``"EchoTime=10; orientation=axial"``, see `medfl.data.dicom.select`.

    Returns
    -------
    Volume
        Array (1, X, Y, Z), float32: columns, rows, slices, a view whose memory lies slice by slice; CT in Hounsfield units.
        RAS+ affine with perpendicular axes. `Volume.native` is set when the slices had to be resampled.

    Raises
    ------
    DataError
        See `medfl.data.dicom.checks`, `medfl.data.dicom.geometry` and `medfl.data.dicom.pixels`; ``INDEX-SELECT``, and
        ``DCM-RESIDUAL`` when grid and slices disagree.
    """
    headers = read_headers(paths, force=how.allow_headerless)
    try:
        return _read(headers, how, select)
    except DataError as error:
        wanted = parse_select(select) if error.code in CONVERTIBLE else {}
        if how.converter != "dcm2niix" or error.code not in CONVERTIBLE or set(wanted) - set(OBJECTS):
            raise
        from medfl.data.dicom.converter import convert  # seldom needed

        chosen = choose(headers, wanted, OBJECTS)
        check_burned_in(chosen, how)
        return convert([header.path for header in chosen])


def _read(headers: Sequence[Header], how: SiteData, select: str) -> Volume:
    ordered, warnings = check_series(headers, how, select)
    stack = stack_of(ordered)
    grey = read_grey(ordered, force=how.allow_headerless)
    if any(warning.code in _RESAMPLED for warning in warnings):
        straight = straighten(grey, stack, AIR_HU if ordered[0].text("Modality") == "CT" else float(grey.min()))
        return Volume(straight.array, straight.affine, tuple(warnings), straight.native)
    affine = _affine(stack, ordered[0])
    _check_residual(affine, stack)
    return Volume(_columns_first(grey), LPS @ affine, tuple(warnings))


def _columns_first(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    return grey.transpose(2, 1, 0)[np.newaxis]


def _affine(stack: Stack, header: Header) -> Affine:
    """Return the grid of even slices, LPS: from the first slice along the normal, whatever SliceThickness says."""
    count = len(stack.positions)
    if count > 1:
        along = stack.along_normal()
        step = (along[-1] - along[0]) / (count - 1)
    else:
        step = next(iter(header.numbers("SpacingBetweenSlices")), 1.0) or 1.0
    rows, columns = stack.pixel
    affine = np.eye(4)
    affine[:3, :3] = stack.axes * [columns, rows, step]
    affine[:3, 3] = stack.positions[0]
    return affine


def _check_residual(affine: Affine, stack: Stack) -> None:
    """Compare the positions of the slices with the grid of the volume."""
    predicted = affine[:3, 3] + np.arange(len(stack.positions))[:, np.newaxis] * affine[:3, 2]
    residual = float(np.linalg.norm(predicted - stack.positions, axis=1).max())
    if not residual <= 0.5 * min(spacing_of(affine)):
        what = f"slice positions and volume disagree by {residual:.2f} mm. The volume is not used."
        raise DataError("DCM-RESIDUAL", what, "Convert the series with dcm2niix, and report this to the makers of medfl.")
