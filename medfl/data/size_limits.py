"""Ceiling on the size that a header declares, held before anything is inflated or allocated: a small file may declare any."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from PIL import Image

from medfl.errors import DataError
from medfl.site import SiteData

_MILLION = 1_000_000
_DEFAULTS = SiteData()


def check_declared_size(shape: Sequence[int], settings: SiteData = _DEFAULTS) -> None:
    """Check the size that a header declares against what the site allows.

    Parameters
    ----------
    shape : sequence of int
        Two sides of a picture, or three and more of a volume: slices, frames and channels are further axes.
    settings : SiteData
        The site's `max_megapixels`, for two axes, and `max_megavoxels`, for more.

    Raises
    ------
    DataError
        ``IMG-LARGE``.
    """
    flat = len(shape) <= 2
    unit, key = ("pixels", "max-megapixels") if flat else ("voxels", "max-megavoxels")
    allowed = settings.max_megapixels if flat else settings.max_megavoxels
    size = math.prod(map(int, shape))  # of Python's integers, which cannot overflow
    if size > allowed * _MILLION:
        sides = " x ".join(str(int(side)) for side in shape)
        what = f"the header declares {sides} {unit}, which is {size / _MILLION:,.0f} million; {key} allows {allowed:,} million."
        fix = f"Check the file; if its size is right, raise {key} in the table 'data' of site.toml."
        raise DataError("IMG-LARGE", what, fix)


@contextmanager
def without_pillow_limit() -> Iterator[None]:
    """Lift Pillow's own, fixed limit while the header of a picture is opened: `check_declared_size` stands in its place."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
