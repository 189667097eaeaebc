from __future__ import annotations

import pytest
from PIL import Image

from medfl.data.size_limits import check_declared_size, without_pillow_limit
from medfl.errors import DataError
from medfl.site import SiteData


@pytest.mark.parametrize(
    ("shape", "key"),
    [
        ((10_000, 10_001), "max-megapixels allows 100 million"),
        ((512, 512, 2289), "max-megavoxels allows 600 million"),
        ((64, 64, 32, 5000), "max-megavoxels"),
        ((2**31, 2**31, 2**31), "max-megavoxels"),  # overflows 64 bits
    ],
)
def test_what_a_header_declares_has_a_ceiling(shape: tuple[int, ...], key: str) -> None:
    with pytest.raises(DataError, match=rf"IMG-LARGE.* x .*{key}"):
        check_declared_size(shape)


def test_large_images_of_hospitals_stay_below_it() -> None:
    check_declared_size((10_000, 10_000))
    check_declared_size((512, 512, 2288))
    check_declared_size((0, 5))


def test_a_site_sets_its_own_ceiling() -> None:
    check_declared_size((20_000, 10_000), SiteData(max_megapixels=200))
    check_declared_size((1000, 1000, 1000), SiteData(max_megavoxels=1000))
    with pytest.raises(DataError, match="IMG-LARGE"):
        check_declared_size((1000, 1001), SiteData(max_megapixels=1))
    with pytest.raises(DataError, match="IMG-LARGE"):
        check_declared_size((100, 100, 101), SiteData(max_megavoxels=1))


def test_the_limit_of_pillow_is_lifted_for_a_while_only() -> None:
    before = Image.MAX_IMAGE_PIXELS
    with without_pillow_limit():
        assert Image.MAX_IMAGE_PIXELS is None
    assert before == Image.MAX_IMAGE_PIXELS
