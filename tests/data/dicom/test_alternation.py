"""Brightness that repeats every second, third or fourth slice is of woven acquisitions; noise, anatomy and packages are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from medfl.data.dicom.alternation import check_alternation
from medfl.errors import DataError


def body(count: int = 20) -> NDArray[Any]:
    """Return slices of soft tissue with noise of 20 HU in air."""
    grey = np.full((count, 128, 128), -1000.0)
    grey[:, 20:108, 20:108] = 40
    return grey + np.random.default_rng(3).normal(0, 20, grey.shape)


def woven(grey: NDArray[Any], steps: tuple[float, ...], part: slice = slice(50, 75)) -> NDArray[np.float32]:
    """Return slices of as many acquisitions as there are steps, which differ in a part of the picture only."""
    grey = grey.copy()
    grey[:, part, part] += np.resize(steps, len(grey))[:, np.newaxis, np.newaxis]
    return grey.astype(np.float32)


@pytest.mark.parametrize("steps", [(0, 250), (0, 150, 300), (0, 100, 200, 300)], ids=["two", "three", "four"])
@pytest.mark.parametrize("count", [20, 33])
def test_vessels_that_are_bright_in_every_second_third_or_fourth_slice(steps: tuple[float, ...], count: int) -> None:
    check_alternation(body(count).astype(np.float32), is_ct=True)
    with pytest.raises(DataError, match=r"DCM-MULTIVOLUME.*alternate in brightness"):
        check_alternation(woven(body(count), steps), is_ct=True)


@pytest.mark.parametrize("count", [6, 7, 8, 21])
def test_few_slices_and_slices_of_one_value(count: int) -> None:
    flat = np.zeros((count, 24, 20))
    check_alternation(flat.astype(np.float32), is_ct=True)
    with pytest.raises(DataError, match="DCM-MULTIVOLUME"):
        check_alternation(woven(flat, (0, 300), slice(None)), is_ct=True)


@pytest.mark.parametrize("is_told", [False, True])
def test_noise_and_edges_do_not_alternate(is_told: bool) -> None:
    random = np.random.default_rng(5)
    for count in (6, 8, 12, 20, 60):
        noise = random.normal(40, 20, (count, 64, 64))
        organs = np.cumsum(random.normal(0, 60, (count, 8, 8)), axis=0).repeat(8, axis=1).repeat(8, axis=2)
        check_alternation((noise + organs).astype(np.float32), is_ct=True, is_told=is_told)


def test_packages_of_mr_may_differ_a_little() -> None:
    signal = np.random.default_rng(1).normal(1000, 3, (20, 64, 64))
    bands = np.resize((1.0, 1.05), 20)[:, np.newaxis, np.newaxis]
    check_alternation((signal * bands).astype(np.float32), is_ct=False)
    with pytest.raises(DataError, match="DCM-MULTIVOLUME"):
        check_alternation((signal * np.resize((1.0, 1.3), 20)[:, np.newaxis, np.newaxis]).astype(np.float32), is_ct=False)


def test_an_attribute_that_alternates_lowers_the_limit() -> None:
    slightly = woven(body(), (0, 10), slice(None))
    check_alternation(slightly, is_ct=True)
    with pytest.raises(DataError, match="DCM-MULTIVOLUME"):
        check_alternation(slightly, is_ct=True, is_told=True)
