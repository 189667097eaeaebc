"""Plain words: of numbers, and of the codes by which sites tell why something was left out."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime

NONE = "n/a"
_CODE = re.compile(r"\[([A-Z][A-Z0-9-]+)\]")

CODES = {
    "CASE-UNREADABLE": "The case could not be read.",
    "CT-HU": "The CT values may not be Hounsfield units: the scanner's rescaling is unusual.",
    "DCM-CODEC": "The DICOM pixels are compressed in a way that no installed decoder reads.",
    "DCM-COLOR": "Colour images, such as screen captures, lie in the series.",
    "DCM-DUP-COPY": "Some images came twice as identical copies; one of each was used.",
    "DCM-DUP-POSITION": "Several slices lie at the same place, and nothing tells which belong together.",
    "DCM-DUP-UID": "Two different files carry the same DICOM identifier.",
    "DCM-FEW-SLICES": "Too few slices for a volume.",
    "DCM-FRAMES": "The DICOM object holds several frames where one image is needed.",
    "DCM-GANTRY-TILT": "The slices are sheared: the scanner's gantry was tilted.",
    "DCM-HEADER": "A header value that gives size or position is damaged.",
    "DCM-IOP": "The orientation in the DICOM header is damaged.",
    "DCM-LOCALIZER": "Localizer images in the series were left aside.",
    "DCM-MATRIX": "The slices of the series differ in size.",
    "DCM-MISSING-SLICES": "Slices are missing, probably from an interrupted transfer.",
    "DCM-MIXED-FRAMES": "Single-slice and multi-frame objects are mixed in one series.",
    "DCM-MOSAIC": "The images are Siemens mosaics, which must be converted first.",
    "DCM-MULTIVOLUME": "The series holds several volumes, for example time points.",
    "DCM-NO-GEOMETRY": "The images do not say where in space they lie.",
    "DCM-NONFINITE": "A position, orientation or spacing is not a number.",
    "DCM-ORIENT": "The slices of the series point in different directions.",
    "DCM-PIXELSPACING": "The pixel size changes within the series, or is missing.",
    "DCM-READ": "A DICOM file could not be read.",
    "DCM-RESIDUAL": "The slices do not form one straight volume.",
    "DCM-SERIES": "The folder of the case holds more than one series.",
    "DCM-SHIFT": "Some slices are shifted sideways: the patient or the table moved.",
    "DCM-SOPCLASS": "The DICOM object is not an image of a patient.",
    "DCM-SPACING": "The distance between slices is not the same throughout.",
    "DCM-TRUNCATED": "The pixel data is shorter than the header says.",
    "DCM-VOLUME": "The images do not form one regular volume.",
    "DISK-FULL": "There was no room left on the disk.",
    "IMG-DIMENSION": "The image has another number of axes than the study needs.",
    "IMG-FORMAT": "The file is not a readable image.",
    "IMG-FRAMES": "The file holds several images.",
    "IMG-MISSING": "The image that the index names does not exist.",
    "IMG-NAN": "The image holds values that are not numbers.",
    "LBL-CLASSNAME": "A label name is not one of the study's classes.",
    "LBL-COLOR": "The mask is painted in colours instead of one number a class.",
    "LBL-EMPTY": "The label has no marked voxel.",
    "LBL-GEOMETRY": "Image and label do not lie on the same grid.",
    "LBL-MISSING": "The image has no label.",
    "LBL-PARTIAL-REF": "The DICOM segmentation refers to only a part of the images of the series.",
    "LBL-VALUES": "The label holds values that are none of the study's classes.",
    "LBL-WRONG-SERIES": "The DICOM segmentation was drawn on another series.",
    "METRICS-MISMATCH": "The numbers of the reply are not those that the study asks for.",
    "MODEL-MISMATCH": "The site built another network than the server; the versions of medfl or MONAI differ.",
    "MODEL-NONFINITE": "The model holds values that are not numbers.",
    "NII-4D": "The file holds several volumes, for example time points.",
    "NII-DTYPE": "The voxels are complex numbers or colours.",
    "NII-FORMAT": "The file is not a NIfTI image, or its header is damaged.",
    "NII-FORMS": "The two orientations that the file states contradict each other.",
    "NII-HEADER": "The position in the header is damaged.",
    "NII-NOFORM": "The file has no orientation, so left and right are unknown.",
    "NII-TRUNCATED": "The file ends early.",
    "NII-UNITS": "The header states metres or micrometres instead of millimetres.",
    "SITE-BELOW-MIN-COUNT": "The site has fewer patients than its policy lets it tell.",
    "SITE-EMPTY": "The site found no usable case.",
    "SITE-ERROR": "Something failed at the site; only its own log says what.",
    "SITE-EXCLUDED": "More cases had to be left out than the site's policy accepts, so it declined.",
    "SITE-SECRET": "The site's secret is missing.",
    "SITE-TOO-SMALL": "The site has too few usable training cases by its own policy, so it declined.",
    "SPLIT-LEAK": "The index puts one patient into two splits.",
    "STORE-LOST": "Prepared data went away while it was in use.",
}
_ROOMS = {
    "DCM": "A problem of the DICOM files.",
    "NII": "A problem of the NIfTI file.",
    "IMG": "A problem of the image file.",
    "LBL": "A problem of the label.",
    "SITE": "The site declined, or something failed there.",
    "SPLIT": "A problem of the division into training, validation and test.",
}
STATUS = {
    "completed": "Completed",
    "failed": "Failed",
    "stopped": "Stopped early",
    "unfinished": "Not finished",
}


def meaning(code: str) -> str:
    """Return what a code means, in one plain sentence."""
    return CODES.get(code) or _ROOMS.get(code.split("-")[0], "See the log of the site.")


def reason_in_words(reason: str) -> tuple[str, str]:
    """Split a told reason into its code, empty if it has none, and plain words.

    Examples
    --------
    >>> reason_in_words("[SITE-ERROR] The details are in the log of the site.")
    ('SITE-ERROR', 'Something failed at the site; only its own log says what.')
    """
    found = _CODE.match(reason.strip())
    if not found:
        return "", reason or "No reason was told."
    return found[1], CODES.get(found[1]) or reason.strip()[found.end() :].strip() or meaning(found[1])


def score(value: float, digits: int = 3) -> str:
    """Write a score, "n/a" for nan."""
    return NONE if math.isnan(value) else f"{value:.{digits}f}"


def signed(value: float, digits: int = 2) -> str:
    """Write a difference with its sign, and a true minus.

    Examples
    --------
    >>> signed(0.123), signed(-0.123), signed(-0.001)
    ('+0.12', '−0.12', '±0.00')
    """
    if math.isnan(value):
        return NONE
    sign = "±" if round(value, digits) == 0 else "+" if value > 0 else "−"
    return f"{sign}{abs(value):.{digits}f}"


def size(count: float) -> str:
    """Write a number of bytes.

    Examples
    --------
    >>> size(19_250_000), size(812)
    ('19.2 MB', '812 B')
    """
    if math.isnan(count):
        return NONE
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def duration(seconds: float) -> str:
    """Write a duration.

    Examples
    --------
    >>> duration(4.26), duration(125), duration(7500)
    ('4.3 s', '2 min 5 s', '2 h 5 min')
    """
    if math.isnan(seconds):
        return NONE
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes} min {left} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def moment(iso: str) -> str:
    """Write an ISO time as a reader likes it, in UTC."""
    try:
        return f"{datetime.fromisoformat(iso):%-d %B %Y, %H:%M} UTC"
    except ValueError:
        return "unknown"


def plural(count: int, one: str, many: str = "") -> str:
    """Write a count with its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}".replace(",", " ")


def listing(words: Sequence[str]) -> str:
    """Join words as "a, b and c"."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
