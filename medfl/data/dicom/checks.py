"""What must be right about a DICOM series before it is read as a volume. Each check has a code, a reason and a way out.

The order of the checks matters: a later one may assume that the earlier ones passed.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medfl.data.dicom.geometry import FEW_SLICES, SAME_PLACE_MM, Stack, check_stack
from medfl.data.dicom.headers import NOT_IMAGES, SPLITTERS, Header
from medfl.errors import DataError

_AGAIN = "Export the series again from the PACS."


def check_series(headers: Sequence[Header], min_slices: int = FEW_SLICES) -> tuple[list[Header], list[DataError]]:
    """Check that the images of one series form one regular volume.

    Parameters
    ----------
    headers : sequence of Header
        The images, in any order.
    min_slices : int
        Fewer slices than this are refused.

    Returns
    -------
    headers : list of Header
        One for each slice, in the order of their position along the slice normal.
    warnings : list of DataError
        What could be put right: ``DCM-DUP-COPY``, ``DCM-LOCALIZER``.

    Raises
    ------
    DataError
        With the code of the first check that failed.
    """
    warnings: list[DataError] = []
    try:
        _one_series(headers)
        kept = _without_localizers(_without_copies(headers, warnings), warnings)
        _same_kind(kept)
        if kept[0].frames > 1:
            return kept, warnings
        _has_geometry(kept)
        _same_matrix(kept)
        return _in_order(kept, min_slices), warnings
    except (TypeError, ValueError, AttributeError, KeyError, OverflowError, NotImplementedError):
        raise DataError("DCM-HEADER", "an attribute that gives size or position is damaged.", _AGAIN) from None


def _one_series(headers: Sequence[Header]) -> None:
    count = len({header.text("SeriesInstanceUID") for header in headers})
    if count > 1:
        raise DataError("DCM-SERIES", f"the images belong to {count} series.", "Keep one series in the folder of a case.")
    if len({header.patient for header in headers}) > 1:
        raise DataError(
            "DCM-PATIENTS", "the images of one series name different patients.", f"{_AGAIN} Check its anonymisation."
        )
    if any(header.text("Modality").upper() in NOT_IMAGES for header in headers):
        raise DataError("DCM-SOPCLASS", "the object is not an image of a patient.", "Use the original image series.")
    if any("MOSAIC" in header.image_type for header in headers):
        raise DataError("DCM-MOSAIC", "the images are Siemens mosaics.", "Convert the series with dcm2niix.")


def _without_copies(headers: Sequence[Header], warnings: list[DataError]) -> list[Header]:
    same: dict[str, list[Header]] = defaultdict(list)
    for header in headers:
        same[header.text("SOPInstanceUID")].append(header)
    copies = [group for group in same.values() if len(group) > 1]
    for group in copies:
        if len({hashlib.sha256(header.path.read_bytes()).digest() for header in group}) > 1:
            fix = f"{_AGAIN} Do not mix anonymised and original copies in one folder."
            raise DataError("DCM-DUP-UID", "two different files carry the same SOPInstanceUID.", fix)
    if copies:
        what = f"{len(copies)} image(s) are present more than once as identical copies; one copy of each is used."
        warnings.append(DataError("DCM-DUP-COPY", what, "Nothing to do."))
    return [group[0] for group in same.values()]


def _without_localizers(headers: list[Header], warnings: list[DataError]) -> list[Header]:
    kept = [header for header in headers if "LOCALIZER" not in header.image_type]
    if not kept or len(kept) == len(headers):
        return headers
    what = f"{len(headers) - len(kept)} localizer image(s) in the series are left out."
    warnings.append(DataError("DCM-LOCALIZER", what, "Nothing to do."))
    return kept


def _same_kind(headers: Sequence[Header]) -> None:
    if len(headers) > 1 and any(header.frames > 1 for header in headers):
        what = f"the series mixes multi-frame objects with other images ({len(headers)} objects)."
        raise DataError("DCM-MIXED-FRAMES", what, "Name the one file to use in the index.")
    if any(int(header.text("SamplesPerPixel") or 1) > 1 for header in headers):
        what = "colour images (screen captures or fusion images) are in the series."
        raise DataError("DCM-COLOR", what, "Use the original greyscale series.")


def _has_geometry(headers: Sequence[Header]) -> None:
    needed = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    lacking = [[not header.text(keyword) for keyword in needed] for header in headers]
    if any(map(any, lacking)):
        names = ", ".join(keyword for keyword, column in zip(needed, zip(*lacking, strict=True), strict=True) if any(column))
        what = (
            f"{names} missing in {sum(map(any, lacking))} of {len(headers)} images, so the volume has no place in the patient."
        )
        raise DataError("DCM-NO-GEOMETRY", what, "Take the original CT or MR series, or make it a study of dimension 2.")


def _same_matrix(headers: Sequence[Header]) -> None:
    sizes = Counter((int(header.text("Rows")), int(header.text("Columns"))) for header in headers)
    if len(sizes) > 1:
        listing = ", ".join(f"{count} of {rows}x{columns}" for (rows, columns), count in sizes.most_common(4))
        what = f"images of different matrix size in one series: {listing}."
        raise DataError("DCM-MATRIX", what, "Split the series and use one part.")


def _in_order(headers: list[Header], min_slices: int) -> list[Header]:
    stack = Stack(
        positions=_numbers(headers, "ImagePositionPatient", 3),
        orientations=_numbers(headers, "ImageOrientationPatient", 6),
        pixels=_numbers(headers, "PixelSpacing", 2),
    )
    along = stack.along_normal()
    order = np.argsort(along, kind="stable")
    ordered, along = [headers[i] for i in order], along[order]
    if (np.diff(along) < SAME_PLACE_MM).any():
        raise _several_volumes(ordered, along)
    check_stack(stack.sorted(order), min_slices)
    return ordered


def _several_volumes(headers: Sequence[Header], along: NDArray[np.float64]) -> DataError:
    for keyword in SPLITTERS:
        groups: dict[str, list[float]] = defaultdict(list)
        for header, place in zip(headers, along, strict=True):
            groups[header.text(keyword)].append(float(place))
        equal = len({len(places) for places in groups.values()}) == 1
        if len(groups) > 1 and equal and all((np.diff(places) > SAME_PLACE_MM).all() for places in groups.values()):
            what = f"the series holds {len(groups)} volumes that differ in {keyword}."
            return DataError("DCM-MULTIVOLUME", what, "Export the volume that is meant as a series of its own.")
    copies = int((np.diff(along) < SAME_PLACE_MM).sum())
    what = f"{copies} slice position(s) occur more than once and no header value tells the copies apart."
    return DataError("DCM-DUP-POSITION", what, f"Two reconstructions or a resend are mixed. {_AGAIN}")


def _numbers(headers: Sequence[Header], keyword: str, count: int) -> NDArray[np.float64]:
    rows = [header.numbers(keyword) for header in headers]
    if any(len(row) != count for row in rows):
        raise ValueError
    return np.array(rows, dtype=np.float64)
