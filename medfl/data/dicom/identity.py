"""Checks of what images say they are: of one series and patient, each with a SOPInstanceUID of its own."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Sequence

from medfl.data.dicom.headers import Header
from medfl.data.findings import Finding
from medfl.errors import DataError

_EXPORT_AGAIN = "Export the series again from the PACS."


def check_one_series(headers: Sequence[Header]) -> None:
    """Check that images are of one series of one patient.

    Raises
    ------
    DataError
        ``DCM-SERIES`` or ``DCM-PATIENTS``; ``DCM-HEADER`` when some images do not say which series they are of.
    """
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        missing = sum(not header.text(keyword) for header in headers)
        if 0 < missing < len(headers):
            what = f"{keyword} is missing in {missing} of {len(headers)} images, so nothing says that they are of one series."
            raise DataError("DCM-HEADER", what, f"{_EXPORT_AGAIN} Check its anonymisation.")
    count = len({(header.text("StudyInstanceUID"), header.text("SeriesInstanceUID")) for header in headers})
    if count > 1:
        fix = "Keep one series in the folder of a case, or name it in column 'select' of the index as SeriesInstanceUID=..."
        raise DataError("DCM-SERIES", f"the images belong to {count} series.", fix)
    if len({header.patient for header in headers} - {""}) > 1:
        raise DataError(
            "DCM-PATIENTS", "the images of one series name different patients.", f"{_EXPORT_AGAIN} Check its anonymisation."
        )


def drop_copies(headers: Sequence[Header], warnings: list[Finding]) -> list[Header]:
    """Return one of each image, by its SOPInstanceUID; of images without one, the same bytes are the same image.

    Raises
    ------
    DataError
        ``DCM-DUP-UID`` for different files with one SOPInstanceUID.
    """
    warnings += missing_uid_warnings(headers)
    copies_by_uid: dict[str, list[Header]] = defaultdict(list)
    without_uid = Counter(os.stat(header.path).st_size for header in headers if not header.text("SOPInstanceUID"))
    for header in headers:
        alike = without_uid[os.stat(header.path).st_size] > 1 if without_uid else False
        copies_by_uid[header.text("SOPInstanceUID") or (_hash_file(header) if alike else str(header.path))].append(header)
    duplicated = [group for group in copies_by_uid.values() if len(group) > 1]
    for group in duplicated:
        if len({_hash_file(header) for header in group}) > 1:
            fix = f"{_EXPORT_AGAIN} Do not mix anonymised and original copies in one folder."
            raise DataError("DCM-DUP-UID", "two different files have the same SOPInstanceUID.", fix)
    if duplicated:
        what = f"{len(duplicated)} slice(s) are present in identical copies; one copy of each is used."
        warnings.append(Finding.warning("DCM-DUP-COPY", what, "Nothing to do."))
    return [group[0] for group in copies_by_uid.values()]


def _hash_file(header: Header) -> str:
    return hashlib.sha256(header.path.read_bytes()).hexdigest()


def missing_uid_warnings(headers: Sequence[Header]) -> list[Finding]:
    """Return a warning when images have no SOPInstanceUID: their pixels can be read, but no label can name them."""
    count = sum(not header.text("SOPInstanceUID") for header in headers)
    if not count:
        return []
    what = f"{count} image(s) have no SOPInstanceUID, so no DICOM-SEG or RTSTRUCT can refer to them."
    return [Finding.warning("DCM-NO-UID", what, "Nothing to do without such labels; else export the images again.")]
