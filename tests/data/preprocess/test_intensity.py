"""Normalisation of grey values, with numbers that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medfl.data.preprocess.steps import preprocess
from medfl.data.volume import Volume
from tests.data.preprocess.studies import make_study, make_volume, study_of_modality


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"intensity": "zscore"}, [-1.0, -1.0, 1.0, 1.0]),
        ({"intensity": "zscore-nonzero"}, [0.0, 0.0, 0.0, 0.0]),
        ({"intensity": "unit"}, [0.0, 0.0, 1.0, 1.0]),
        ({"intensity": "window", "window": "0,2"}, [0.0, 0.0, 1.0, 1.0]),
        ({"intensity": "window", "window": "0,8"}, [0.0, 0.0, 0.5, 0.5]),
        ({"intensity": "percentile", "percentiles": "0,100"}, [0.0, 0.0, 1.0, 1.0]),
    ],
)
def test_intensities(settings: dict[str, str], expected: list[float]) -> None:
    result, _ = preprocess(make_volume([[0, 0], [4, 4]]), None, make_study(2, **settings))
    np.testing.assert_allclose(result.array.ravel(), expected, atol=1e-6)


def test_zscore_nonzero_leaves_zeros_and_centres_the_rest() -> None:
    result, _ = preprocess(make_volume([[0, 0], [2, 6]]), None, make_study(2, intensity="zscore-nonzero"))
    np.testing.assert_allclose(result.array.ravel(), [0, 0, -1, 1], atol=1e-6)


def test_channels_are_normalised_one_by_one() -> None:
    result, _ = preprocess(make_volume([[0, 2]], [[100, 300]]), None, make_study(2))
    np.testing.assert_allclose(result.array, [[[-1, 1]], [[-1, 1]]], atol=1e-6)


def test_clip_limits_outliers() -> None:
    values = np.arange(101, dtype=np.float32).reshape(1, 101, 1)
    values[0, 100] = 1e6
    unclipped, _ = preprocess(Volume(values), None, make_study(2, intensity="percentile", percentiles="0,50"))
    clipped, _ = preprocess(Volume(values), None, make_study(2, intensity="percentile", percentiles="0,50", clip=True))
    assert unclipped.array.max() == pytest.approx(20000)
    assert clipped.array.max() == 1.0
    zscores, _ = preprocess(Volume(values), None, make_study(2, clip=True, percentiles="0,99"))
    assert zscores.array.max() < 2


@pytest.mark.parametrize("intensity", ["zscore", "zscore-nonzero", "percentile", "window", "unit"])
@pytest.mark.parametrize("value", [0.0, 3.0])
@pytest.mark.parametrize("clip", [False, True])
def test_a_constant_image_causes_no_division_by_zero(intensity: str, value: float, clip: bool) -> None:
    study = make_study(intensity=intensity, window="0,4", clip=clip)
    result, _ = preprocess(Volume(np.full((1, 3, 3, 3), value, np.float32)), None, study)
    assert np.isfinite(result.array).all()
    assert np.ptp(result.array) == 0


def test_standardize_clips_then_centres_and_scales() -> None:
    study = make_study(2, intensity="standardize", window="0,100", mean=60.0, std=20.0)
    result, _ = preprocess(make_volume([[-1000, 40], [80, 3000]]), None, study)
    np.testing.assert_allclose(result.array.ravel(), [-3, -1, 1, 2])


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("lung", -1000, 400), ("Abdomen", -160, 240), ("bone", -500, 1300), ("brain", 0, 80), ("mediastinum", -125, 225)],
)
def test_a_window_can_be_given_by_name(name: str, low: float, high: float) -> None:
    study = study_of_modality("CT", 2, intensity="window", window=name)
    assert study.preprocessing.window == (low, high)
    result, _ = preprocess(make_volume([[low - 9, low], [(low + high) / 2, high + 9]]), None, study)
    np.testing.assert_allclose(result.array.ravel(), [0, 0, 0.5, 1], atol=1e-6)


def test_equalizing_makes_every_grey_value_as_frequent_and_keeps_their_order() -> None:
    values = np.exp(np.linspace(0, 6, 4096, dtype=np.float32)).reshape(1, 64, 64)
    study = study_of_modality("XR", 2, contrast="equalize", intensity="unit", percentiles="0,100")
    result = preprocess(Volume(values), None, study)[0].array.ravel()
    assert (np.diff(result) >= 0).all()
    assert (result.min(), result.max()) == (0, 1)
    plain = preprocess(Volume(values), None, study_of_modality("XR", 2, intensity="unit"))[0].array.ravel()
    assert np.median(plain) < 0.06  # most of the image is dark
    # ranks, up to the width of a bin
    np.testing.assert_allclose(np.quantile(result, [0.5, 0.75, 1]), [0.41, 0.71, 1], atol=0.02)
