"""Reader of a SEG or RTSTRUCT for one case: it must have been drawn on the series of that case."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset

from medfl.data.cases import Source
from medfl.data.dicom.headers import Header
from medfl.data.dicom.parsing import parse_file
from medfl.data.dicom.references import check_references, find_references, unreadable_label_error
from medfl.data.dicom.source_headers import read_source_headers
from medfl.data.library_output import library_errors_as, silence_libraries
from medfl.data.size_limits import check_declared_size
from medfl.errors import DataError
from medfl.site import SiteData


def read_label_dataset(path: Path, image_source: Source, settings: SiteData) -> tuple[Dataset, list[Header]]:
    """Read a label file, check that it belongs to the series of a case, and return it with the headers of the series.

    Raises
    ------
    DataError
        ``LBL-READ``, ``IMG-LARGE`` for one frame of a SEG that is too large, and those of `check_references`.
    """
    if image_source.kind != "dicom":
        what = "a label in DICOM needs the DICOM series it was drawn on."
        raise DataError("LBL-WRONG-SERIES", what, "Use the original series, or export the label as NIfTI.")
    with silence_libraries(), library_errors_as(unreadable_label_error):
        dataset = parse_file(path, settings, force=settings.allow_headerless)
        check_declared_size((int(dataset.get("Columns") or 0), int(dataset.get("Rows") or 0)), settings)
    references = find_references(dataset, path)
    headers = read_source_headers(image_source, force=settings.allow_headerless)
    check_references(
        references, {header.text("SOPInstanceUID") for header in headers}, get_frame_of_reference(headers), settings
    )
    return dataset, headers


def get_frame_of_reference(headers: Sequence[Header]) -> str:
    """Return the FrameOfReferenceUID of a series; empty when it names none, or several."""
    frames = {header.text("FrameOfReferenceUID") for header in headers}
    return frames.pop() if len(frames) == 1 else ""
