"""Checks of a DICOM series before it is read as a volume, each with a code, a reason and a remedy.

Their order matters: later checks assume that the earlier ones passed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from medfl.data.dicom.acquisitions import check_one_acquisition
from medfl.data.dicom.declared_size import check_headers_size
from medfl.data.dicom.frames import frame_headers, is_enhanced
from medfl.data.dicom.further_attributes import B_VALUE, add_further_attributes
from medfl.data.dicom.headers import Header
from medfl.data.dicom.identity import check_one_series, drop_copies
from medfl.data.dicom.keywords import FURTHER_KEYWORDS
from medfl.data.dicom.multivolume import check_one_contrast, multivolume_error
from medfl.data.dicom.pixels import check_bits, rescale_parameters
from medfl.data.dicom.select import OBJECT_KEYS, SELECT_KEYS, parse_select, select_headers
from medfl.data.dicom.slice_stack import SAME_POSITION_MM, SliceStack, check_stack
from medfl.data.dicom.sop_classes import check_burned_in, check_image_classes, check_volume_classes
from medfl.data.findings import Finding
from medfl.errors import DataError
from medfl.site import SiteData

_EXPORT_AGAIN = "Export the series again from the PACS."
_DEFAULTS = SiteData()
_HOUNSFIELD = {"", "HU", "US"}  # RescaleType of a CT: Hounsfield units, or unspecified
_COLOUR_SPACES = ("RGB", "PALETTE", "YBR")  # prefixes of PhotometricInterpretation


def check_series(
    headers: Sequence[Header], settings: SiteData = _DEFAULTS, select: str = ""
) -> tuple[list[Header], list[Finding]]:
    """Check that the images of one series form one regular volume.

    Parameters
    ----------
    headers : sequence of Header
        The images, in any order; multi-frame objects count as their frames.
    settings : SiteData
        The site's `min_slices`, `gantry_tilt`, `nonuniform`, `burned_in` and `allow_headerless`.
    select : str
        Volume to read, of a series of several (see `medfl.data.dicom.select`).

    Returns
    -------
    headers : list of Header
        One per slice or frame, in the order of their positions along the slice normal.
    warnings : list of Finding
        ``DCM-DUP-COPY`` and ``DCM-LOCALIZER`` for images that are left out, ``DCM-NO-UID`` for images without a UID,
        ``CT-HU`` for doubtful values, and ``DCM-RESAMPLED`` and ``DCM-STRAIGHTENED`` for slices that must be resampled.

    Raises
    ------
    DataError
        If a check fails, with the code of the first that does.
    """
    warnings: list[Finding] = []
    conditions = parse_select(select)
    try:
        selected = select_headers(headers, conditions, OBJECT_KEYS)
        check_one_series(selected)
        check_image_classes(selected)
        selected = _drop_localizers(drop_copies(selected, warnings), warnings)
        _check_one_kind(selected, settings)
        selected = [frame for header in selected for frame in _expand_frames(header, settings)]
        return _check_volume(selected, settings, conditions, warnings), warnings
    except (TypeError, ValueError, AttributeError, KeyError, OverflowError, NotImplementedError):
        raise DataError("DCM-HEADER", "an attribute that gives size or position is damaged.", _EXPORT_AGAIN) from None


def _check_volume(
    headers: list[Header], settings: SiteData, conditions: Mapping[str, str], warnings: list[Finding]
) -> list[Header]:
    if not {B_VALUE, *FURTHER_KEYWORDS}.isdisjoint(conditions):
        headers = add_further_attributes(headers, force=settings.allow_headerless)
    selected = select_headers(headers, conditions, [key for key in SELECT_KEYS if key not in OBJECT_KEYS])
    _check_geometry(selected)
    _check_one_frame_of_reference(selected)
    _check_same_matrix(selected)
    try:
        ordered, stack = _sort_slices(selected)
    except DataError as error:
        if error.code not in ("DCM-DUP-POSITION", "DCM-MULTIVOLUME"):
            raise
        ordered, stack = _sort_slices(add_further_attributes(selected, force=settings.allow_headerless))  # to name them
    warnings += [_resampling_warning(error, settings) for error in check_stack(stack, settings.min_slices)]
    warnings += _check_rescale(ordered)
    return ordered


def _resampling_warning(error: DataError, settings: SiteData) -> Finding:
    """Return a warning instead of an error that the site lets medfl correct by resampling.

    Raises
    ------
    DataError
        The error, when the site does not.
    """
    if error.code == "DCM-SPACING" and settings.nonuniform == "resample":
        return Finding.warning("DCM-RESAMPLED", f"{error.what} It was interpolated to a uniform spacing.", "Nothing to do.")
    if error.code == "DCM-GANTRY-TILT" and settings.gantry_tilt == "resample":
        return Finding.warning("DCM-STRAIGHTENED", f"{error.what} It was resampled without the tilt.", "Nothing to do.")
    raise error


def _check_one_frame_of_reference(headers: Sequence[Header]) -> None:
    frames = len({header.text("FrameOfReferenceUID") for header in headers} - {""})
    if frames > 1:
        what = f"the images name {frames} frames of reference, so their positions cannot be compared."
        raise DataError("DCM-REFERENCE", what, f"{_EXPORT_AGAIN} Check its anonymisation.")


def _drop_localizers(headers: list[Header], warnings: list[Finding]) -> list[Header]:
    selected = [header for header in headers if "LOCALIZER" not in header.image_type]
    if not selected or len(selected) == len(headers):
        return headers
    what = f"{len(headers) - len(selected)} localizer image(s) in the series are left out."
    warnings.append(Finding.warning("DCM-LOCALIZER", what, "Nothing to do."))
    return selected


def _check_one_kind(headers: list[Header], settings: SiteData) -> None:
    if len(headers) > 1 and any(header.frame_count > 1 for header in headers) and not _is_concatenation(headers):
        what = f"the series mixes multi-frame objects with other images ({len(headers)} objects)."
        fix = "Name the object to use in column 'select' of the index, as sop_instance=..."
        raise DataError("DCM-MIXED-FRAMES", what, fix)
    _is_concatenation(headers)  # even a single object may be part of one
    check_headers_size(headers, settings)
    for header in headers:
        check_bits(header)
        if int(header.text("SamplesPerPixel") or 1) > 1 or header.text("PhotometricInterpretation").startswith(_COLOUR_SPACES):
            what = "the series contains colour images (screen captures or fusion images)."
            raise DataError("DCM-COLOR", what, "Use the original greyscale series.")
    check_volume_classes(headers)
    check_burned_in(headers, settings)


def _is_concatenation(headers: Sequence[Header]) -> bool:
    """Return whether the objects are all the parts of a concatenation (PS3.3 C.7.6.16.2.2.4).

    Raises
    ------
    DataError
        ``DCM-MISSING-SLICES`` when parts are missing.
    """
    total = int(headers[0].text("InConcatenationTotalNumber") or 1)
    if total == 1 or len({header.text("ConcatenationUID") for header in headers}) > 1:
        return False
    if len(headers) != total:
        what = f"the object is a concatenation of {total} files, of which {len(headers)} are present."
        raise DataError("DCM-MISSING-SLICES", what, "Fetch the series again from the PACS.")
    return True


def _expand_frames(header: Header, settings: SiteData) -> list[Header]:
    return frame_headers(header, force=settings.allow_headerless) if is_enhanced(header) else [header]


def _check_geometry(headers: Sequence[Header]) -> None:
    required = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    missing = [[not header.text(keyword) for keyword in required] for header in headers]
    if any(map(any, missing)):
        names = ", ".join(keyword for keyword, column in zip(required, zip(*missing, strict=True), strict=True) if any(column))
        count = sum(map(any, missing))
        what = f"{names} missing in {count} of {len(headers)} images, so the volume has no position in the patient."
        fix = "This is a secondary capture or a projection image: use the original CT or MR series, or set dimension = 2."
        raise DataError("DCM-NO-GEOMETRY", what, fix)


def _check_same_matrix(headers: Sequence[Header]) -> None:
    sizes = Counter((int(header.text("Rows")), int(header.text("Columns"))) for header in headers)
    if len(sizes) > 1:
        listing = ", ".join(f"{count} of {rows}x{columns}" for (rows, columns), count in sizes.most_common(4))
        what = f"images of different matrix size in one series: {listing}."
        fix = f"Select one size in column 'select' of the index, for example rows={sizes.most_common(1)[0][0][0]}."
        raise DataError("DCM-MATRIX", what, fix)


def _sort_slices(headers: list[Header]) -> tuple[list[Header], SliceStack]:
    stack = build_stack(headers)
    along = stack.positions_along_normal()
    order = np.argsort(along, kind="stable")
    ordered, along = [headers[i] for i in order], along[order]
    if (np.diff(along) < SAME_POSITION_MM).any():
        raise multivolume_error(ordered, along, min(stack.pixel_spacing))
    check_one_contrast(ordered)
    reordered = stack.reorder(order)
    check_one_acquisition(ordered, reordered)
    return ordered, reordered


def build_stack(headers: Sequence[Header]) -> SliceStack:
    """Return the positions of slices as a stack.

    Raises
    ------
    DataError
        ``DCM-NONFINITE``, ``DCM-IOP``, ``DCM-ORIENT`` or ``DCM-PIXELSPACING``.
    ValueError
        When an attribute has the wrong number of values.
    """
    return SliceStack(
        positions=_read_numbers(headers, "ImagePositionPatient", 3),
        orientations=_read_numbers(headers, "ImageOrientationPatient", 6),
        pixel_spacings=_read_numbers(headers, "PixelSpacing", 2),
    )


def _read_numbers(headers: Sequence[Header], keyword: str, count: int) -> NDArray[np.float64]:
    rows = [header.numbers(keyword) for header in headers]
    if any(len(row) != count for row in rows):
        raise ValueError
    return np.array(rows, dtype=np.float64)


def _check_rescale(headers: Sequence[Header]) -> list[Finding]:
    """Refuse a volume whose slices are rescaled differently, and warn of a CT without RescaleIntercept."""
    for header in headers:
        rescale_parameters(header)
    if headers[0].text("Modality") == "CT" and {header.text("RescaleType").upper() for header in headers} - _HOUNSFIELD:
        what = "RescaleType says that the values of the CT are not Hounsfield units."
        raise DataError("DCM-RESCALE", what, "Use the original series, not a calculated one (iodine, density, effective Z).")
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        missing = sum(not header.text(keyword) for header in headers)
        if 0 < missing < len(headers):
            what = f"{keyword} is missing in {missing} of {len(headers)} images, so their grey values are not on one scale."
            raise DataError("DCM-RESCALE", what, "Export the original series.")
    if missing and headers[0].text("Modality") == "CT":
        what = "the CT has no RescaleIntercept, so its values may not be Hounsfield units."
        return [Finding.warning("CT-HU", what, "Export the original series.")]
    return []
