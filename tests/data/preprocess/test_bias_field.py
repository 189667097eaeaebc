"""Correction of the bias field of MR images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medfl.data.preprocess.steps import preprocess
from medfl.data.volume import Volume
from tests.data.preprocess.studies import make_study


def test_the_bias_field_is_removed_and_the_tissues_stay() -> None:
    pytest.importorskip("SimpleITK")
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, 48)] * 3, indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    tissue = np.where(radius < 0.5, 200.0, np.where(radius < 0.9, 100.0, 0.0))
    shaded = (tissue * np.exp(0.4 * x)).astype(np.float32)

    def unevenness(image: Any) -> float:
        inside = image[tissue == 100]
        return float(inside.std() / inside.mean())

    study = make_study(bias_correction="n4", intensity="unit")
    result, _ = preprocess(Volume(shaded[None]), None, study)
    assert unevenness(shaded) > 0.15
    assert unevenness(result.array[0]) < 0.02
    assert np.median(result.array[0][tissue == 200]) / np.median(result.array[0][tissue == 100]) == pytest.approx(2, rel=0.02)
    np.testing.assert_array_equal(result.array, preprocess(Volume(shaded[None]), None, study)[0].array)


def test_bias_correction_of_an_empty_channel_changes_nothing() -> None:
    pytest.importorskip("SimpleITK")
    result, _ = preprocess(Volume(np.zeros((1, 20, 20, 20), np.float32)), None, make_study(bias_correction="n4"))
    assert not result.array.any()
