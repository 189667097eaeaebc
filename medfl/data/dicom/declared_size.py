"""Size that the headers of DICOM images declare, held against what the site reads before any pixel is decoded."""

from __future__ import annotations

import math
from collections.abc import Sequence

from medfl.data.dicom.headers import Header
from medfl.data.size_limits import check_declared_size
from medfl.errors import DataError
from medfl.site import SiteData


def check_headers_size(headers: Sequence[Header], settings: SiteData) -> None:
    """Check Rows and Columns of each image, and with them the number of all images and frames.

    Raises
    ------
    DataError
        ``IMG-LARGE``; ``DCM-HEADER`` when one of them is not a number.
    """
    try:
        sizes = [(int(header.text("Columns") or 0), int(header.text("Rows") or 0)) for header in headers]
        count = sum(header.frame_count for header in headers)
    except ValueError:
        what = "an attribute that gives the size of the image is damaged."
        raise DataError("DCM-HEADER", what, "Export the series again from the PACS.") from None
    for size in set(sizes):
        check_declared_size(size, settings)
    if count > 1:
        check_declared_size((*max(sizes, key=math.prod), count), settings)
