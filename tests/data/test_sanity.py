from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from medfl.data.sanity import check_image
from medfl.data.volume import Volume
from medfl.errors import DataError


def volume(values: NDArray[Any], spacing: tuple[float, float, float] = (3.0, 3.0, 3.0)) -> Volume:
    return Volume(np.asarray(values, dtype=np.float32)[np.newaxis], np.diag([*spacing, 1.0]))


def ramp(*shape: int) -> NDArray[np.float32]:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_more_than_99_percent_of_one_value_is_an_empty_image(make_study: Any) -> None:
    study = make_study()
    values = np.zeros((10, 20, 50))
    values.reshape(-1)[::100] = np.arange(1, 101)  # 1 % of the voxels, spread
    assert check_image(volume(values), study) == []
    values[0, 0, 0] = 0
    with pytest.raises(DataError, match=r"IMG-CONST.*99\.01 %"):
        check_image(volume(values), study)
    block = np.full((20, 20, 20), -1024.0)
    block[:4, :5, :4] = ramp(4, 5, 4)  # 1 % in one place
    assert check_image(volume(block), study) == []
    block[0, 0, 0] = -1024
    with pytest.raises(DataError, match="IMG-CONST"):
        check_image(volume(block), study)


def test_each_channel_must_show_something(make_study: Any) -> None:
    both = Volume(np.stack([ramp(5, 5, 5), np.ones((5, 5, 5), dtype=np.float32)]), np.diag([3.0, 3, 3, 1]))
    with pytest.raises(DataError, match=r"IMG-CONST.*100 %"):
        check_image(both, make_study(task__channels="T1,T2"))


def test_voxels_that_are_no_numbers_are_counted(make_study: Any) -> None:
    values = ramp(5, 5, 5)
    values[0, 0, :2], values[4, 4, 4] = np.nan, np.inf
    with pytest.raises(DataError, match=r"IMG-NAN.*3 voxels"):
        check_image(volume(values), make_study())


@pytest.mark.parametrize(
    ("spacing", "count", "fine"),
    [
        ((1.0, 1.0, 1.0), 10, True),
        ((1.0, 1.0, 1.0), 9, False),  # 9 mm in all
        ((0.05, 0.05, 20.0), 10, True),
        ((0.04, 1.0, 5.0), 10, False),
        ((1.0, 1.0, 20.1), 10, False),
        ((20.0, 20.0, 20.0), 125, True),
        ((20.0, 20.0, 20.0), 126, False),  # 2520 mm
    ],
)
def test_sizes_that_cannot_be_of_a_patient(make_study: Any, spacing: Any, count: int, fine: bool) -> None:
    image = volume(ramp(2, 2, count), spacing)
    if fine:
        assert check_image(image, make_study()) == []
    else:
        with pytest.raises(DataError, match=r"IMG-SPACING.*mm cannot be right"):
            check_image(image, make_study())


def body(air: float, tissue: float = 40.0, side: int = 64) -> Volume:
    """Return a cube of tissue in air, 3.2 mm a voxel."""
    values = np.full((side, side, side), air)
    values[8:-8, 8:-8] = tissue + ramp(side - 16, side - 16, side) % 7
    return volume(values, (3.2, 3.2, 3.2))


def test_a_ct_in_other_units_is_noted(make_study: Any) -> None:
    ct, mr = make_study(task__modality="CT"), make_study()
    assert check_image(body(-1000.0), ct) == []
    (stored,) = check_image(body(0.0, 1600.0), ct)
    assert stored.code == "CT-HU"
    assert stored.what == "values run from 0 to 1606, but a CT in Hounsfield units reaches about -1000 in air."
    (twice,) = check_image(body(-300.0), ct)
    assert (twice.code, twice.what.split(",")[0]) == ("CT-HU", "values run from -300 to 46")
    assert check_image(body(-300.0, side=62), ct) == []  # 198 mm: a region that was cut out has no air around it
    assert check_image(body(0.0, 1600.0), mr) == []


def test_a_large_volume_is_looked_at_slice_by_slice(make_study: Any) -> None:
    image = body(-1000.0, side=128)
    tracemalloc.start()
    try:
        check_image(image, make_study(task__modality="CT"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.1 * image.array.nbytes
