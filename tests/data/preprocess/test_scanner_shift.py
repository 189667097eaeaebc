"""Simulated scanners change images by stated strengths, alike for all images of a hospital but for noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medfl.data.preprocess.scanner_shift import with_own_scanner
from medfl.data.volume import Volume
from medfl.site import SimulatedSite, Site
from medfl.study import Simulation, Study

RAMP = np.tile(np.linspace(0, 100, 48, dtype=np.float32)[:, None], (1, 1, 40))


@pytest.fixture
def study(make_study: Any) -> Study:
    made: Study = make_study(task__dimension=2, task__modality="XR", **{"split-seed": 3})
    return made


def shifted(study: Study, array: Any = RAMP, *, site: str = "a", image: str = "i", **strengths: float) -> Any:
    simulation = Simulation(**{f"scanner_{name}": value for name, value in strengths.items()})
    simulated = SimulatedSite(simulation=simulation, own_scanner=True)
    return with_own_scanner(Volume(array), Site(name=site, simulated=simulated), study, image).array


def test_other_hospitals_keep_their_images(study: Study) -> None:
    volume, simulation = Volume(RAMP), Simulation(scanner_gain=0.5, scanner_sites=("1",))
    for simulated in (None, SimulatedSite(simulation=simulation)):
        assert with_own_scanner(volume, Site(name="a", simulated=simulated), study, "i") is volume


def test_gain_is_one_factor_within_its_strength_for_each_hospital(study: Study) -> None:
    factors = []
    for site in "abcdefgh":
        array = shifted(study, site=site, gain=0.3)
        factors.append(array.max() / 100)
        np.testing.assert_allclose(array, RAMP * factors[-1], rtol=1e-5)
        np.testing.assert_array_equal(array, shifted(study, site=site, image="another", gain=0.3))
    assert 0.7 < min(factors) < 0.9 < 1.1 < max(factors) < 1.3


def test_contrast_keeps_the_range_and_bends_what_is_between(study: Study) -> None:
    array = shifted(study, contrast=0.5)
    assert (array.min(), array.max()) == pytest.approx((0, 100), abs=1e-2)
    exponent = np.log(array[0, 24, 0] / 100) / np.log(RAMP[0, 24, 0] / 100)
    assert 0.5 < exponent < 1.5
    assert exponent != pytest.approx(1, abs=0.01)


def test_shading_is_smooth_and_within_its_strength(study: Study) -> None:
    flat = np.full((2, 32, 32, 16), 50, np.float32)
    factors = shifted(study, flat, bias=0.5) / 50
    assert 1 / 1.5 <= factors.min() < 0.98 < 1.02 < factors.max() <= 1.5
    np.testing.assert_array_equal(factors[0], factors[1])  # one coil for all channels
    assert np.abs(np.diff(factors, axis=1)).max() < (factors.max() - factors.min()) / 3


def test_noise_is_drawn_for_each_image_and_the_same_again(study: Study) -> None:
    first, other = (shifted(study, image=image, noise=0.4) - RAMP for image in "ij")
    assert 0 < first.std() < 0.4 * RAMP.std() * 1.05
    assert first.std() == pytest.approx(other.std(), rel=0.1)
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.1
    np.testing.assert_array_equal(first, shifted(study, image="i", noise=0.4) - RAMP)


def test_lost_resolution_blurs_an_edge_and_keeps_the_shape(study: Study) -> None:
    edge = np.zeros((1, 40, 40, 40), np.float32)
    edge[:, 20:] = 1
    array = shifted(study, edge, resolution=0.8)
    assert array.shape == edge.shape
    assert ((array > 0.05) & (array < 0.95)).any()
    assert not ((edge > 0.05) & (edge < 0.95)).any()


def test_one_more_strength_does_not_move_the_others(study: Study) -> None:
    together = shifted(study, gain=0.3, noise=0.001)
    np.testing.assert_allclose(together, shifted(study, gain=0.3), atol=0.5)


def test_the_seed_of_the_splits_decides(study: Study, make_study: Any) -> None:
    other = make_study(task__dimension=2, task__modality="XR", **{"split-seed": 4})
    again = make_study(task__dimension=2, task__modality="XR", seed=9, **{"split-seed": 3})
    np.testing.assert_array_equal(shifted(study, gain=0.3), shifted(again, gain=0.3))
    assert not np.array_equal(shifted(study, gain=0.3), shifted(other, gain=0.3))
