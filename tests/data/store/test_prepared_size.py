"""What preparing makes of an image is foretold from its size alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medfl.data.image_extent import along_patient
from medfl.data.preprocess.steps import preprocess
from medfl.data.store.prepared_size import check_prepared_size, foretell_shape, preparing_bytes, stored_bytes
from medfl.data.volume import Volume
from medfl.errors import DataError
from medfl.site import SiteData
from tests.data.preprocess.studies import make_study

SHAPE = (9, 14, 5)
SAGITTAL = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
TILTED = np.array([[np.cos(0.2), -np.sin(0.2), 0.0], [np.sin(0.2), np.cos(0.2), 0.0], [0.0, 0.0, 1.0]])
OBLIQUE = TILTED @ SAGITTAL * [0.8, 1.2, 3.0]  # the last axis runs from left to right


@pytest.mark.parametrize(
    "steps", [np.diag([0.8, 1.2, 3.0]), np.diag([-0.8, -1.2, 3.0]), OBLIQUE, -OBLIQUE], ids=["RAS", "LPS", "oblique", "turned"]
)
@pytest.mark.parametrize(
    "preprocessing",
    [
        {},
        {"spacing": "1,1,1"},
        {"spacing": "0.8,1.2,3"},
        {"spacing": "0.4,2.5,1.5"},
        {"spacing": "2,0.3,7"},
        {"size": "6,20,8"},
        {"spacing": "2,2,2", "size": "6,20,8"},
    ],
    ids=str,
)
def test_shape_is_that_of_preprocessing(steps: Any, preprocessing: dict[str, str]) -> None:
    study = make_study(**preprocessing)
    affine = np.eye(4)
    affine[:3, :3] = steps
    image = np.random.default_rng(0).normal(size=(1, *SHAPE)).astype(np.float32)
    prepared, mask = preprocess(Volume(image, affine), np.ones(SHAPE, np.uint8), study)
    assert mask is not None
    assert foretell_shape(*along_patient(SHAPE, steps), study) == prepared.shape
    stored = stored_bytes(SHAPE, prepared.shape, study, masked=True)
    assert stored == prepared.array.nbytes + mask.nbytes + (np.prod(SHAPE) if preprocessing else 0)


def test_a_picture_gets_the_size_of_the_study() -> None:
    assert foretell_shape((300, 200), (), make_study(dimension=2, size="64,48")) == (64, 48)
    assert foretell_shape((300, 200), (), make_study(dimension=2)) == (300, 200)


def test_memory_covers_the_arrays_that_exist_at_a_time() -> None:
    shape, spacing, image = (200, 200, 200), (1.0, 1.0, 1.0), 4 * 200**3

    def needed(*, masked: bool = False, **preprocessing: str) -> float:
        return preparing_bytes(shape, spacing, make_study(**preprocessing), masked=masked) / image

    assert needed() == 1
    assert needed(masked=True) == 1 + 2 / 4  # the mask also on its own grid
    assert needed(dtype="float16") == 1 + 1 / 2
    assert needed(size="200,200,400") == 1 + 2
    half = needed(spacing="0.5,0.5,0.5")
    assert 1 + 399**3 / 200**3 < half < 1 + 1.7 * 399**3 / 200**3  # and the planes that are interpolated
    assert needed(spacing="0.5,0.5,0.5", masked=True) == pytest.approx(half + 0.5 + 399**3 / 200**3 / 4)


def test_a_spacing_in_micrometres_takes_more_memory_than_there_is() -> None:
    with pytest.raises(DataError, match=r"20 x 20 x 20 voxels would be prepared as 381 x 381 x 381.*there") as caught:
        check_prepared_size(
            (20, 20, 20), (1.0, 1.0, 1.0), make_study(spacing="0.05,0.05,0.05"), SiteData(), masked=True, memory=10**8
        )
    assert caught.value.code == "CASE-MEMORY"
    assert "preprocessing.spacing" in caught.value.fix


@pytest.mark.parametrize("spacing", ["1000,1000,1000", "1,1,50"])
def test_a_spacing_that_is_larger_than_the_image_is_refused(spacing: str) -> None:
    with pytest.raises(DataError, match="larger than the image") as caught:
        check_prepared_size((20, 20, 20), (1.0, 1.0, 1.0), make_study(spacing=spacing), SiteData(), masked=False)
    assert caught.value.code == "PREP-SIZE"


def test_the_largest_volume_of_the_site_holds_for_prepared_ones() -> None:
    study = make_study(spacing="0.1,0.1,0.1")
    with pytest.raises(DataError, match="which is 7 million; max-megavoxels allows 6 million") as caught:
        check_prepared_size((20, 20, 20), (1.0, 1.0, 1.0), study, SiteData(max_megavoxels=6), masked=False)
    assert caught.value.code == "PREP-SIZE"
    check_prepared_size((20, 20, 20), (1.0, 1.0, 1.0), study, SiteData(max_megavoxels=7), masked=False)


def test_an_image_of_one_slice_may_stay_one() -> None:
    check_prepared_size((20, 20, 1), (1.0, 1.0, 5.0), make_study(spacing="1,1,1"), SiteData(), masked=False)
