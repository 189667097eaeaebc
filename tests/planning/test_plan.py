"""Plan made of hospitals' fingerprints: the one that nnU-Net makes of all their cases."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medfl.errors import ConfigError, DataError
from medfl.planning import fingerprint_statistics
from medfl.planning.fingerprint import CaseMeasurements, Fingerprint, Scope, merge
from medfl.planning.plan import make_plan

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden.json").read_text())["data-sets"]


def hospitals(made: SimpleNamespace, name: str) -> tuple[Scope, list[Fingerprint]]:
    """Deal the cases of a data set, whose axes are z,y,x, to three hospitals."""
    facts = GOLDEN[name]
    scope = Scope(3, "MR", tuple(f"class{k}" for k in range(facts["classes"])), 1, "nonzero")
    rest = (0.1,) * (facts["classes"] - 1)
    cases = [
        CaseMeasurements(tuple(spacing[::-1]), tuple(shape[::-1]), 1.0, rest)
        for spacing, shape, times in facts["cases"]
        for _ in range(times)
    ]
    return scope, [made.added(scope, cases[k::3]) for k in range(3)]


@pytest.mark.parametrize("name", GOLDEN)
def test_plan_of_three_hospitals_is_that_of_nnunet(made: SimpleNamespace, name: str) -> None:
    scope, sites = hospitals(made, name)
    plan = make_plan(merge(sites), made.study_of(scope), GOLDEN[name]["gpu-gb"])
    golden = GOLDEN[name]["3d"]
    to_xyz = np.argsort([2 - axis for axis in GOLDEN[name]["axes"]])
    assert plan.patch == tuple(np.array(golden["patch"])[to_xyz])
    assert plan.batch == golden["batch"]
    assert np.array(plan.strides).tolist() == np.array(golden["strides"])[:, to_xyz].tolist()
    assert np.array(plan.kernels).tolist() == np.array(golden["kernels"])[:, to_xyz].tolist()
    assert list(plan.filters) == golden["features"]
    assert plan.spacing == pytest.approx(np.array(golden["spacing"])[to_xyz], rel=0.005)
    assert plan.intensity == "zscore"


def test_ct_is_normalised_by_the_foreground_of_all_hospitals(made: SimpleNamespace) -> None:
    cases = [made.abdomen(k) for k in range(60)]
    pooled = np.concatenate([np.random.default_rng(k).choice(case.foreground[0], 4000) for k, case in enumerate(cases)])
    sites = [made.added(made.CT, cases[:20]), made.added(made.CT, cases[20:])]
    plan = make_plan(merge(sites), made.study_of(made.CT))
    assert plan.intensity == "standardize"
    assert plan.foreground is not None
    assert plan.foreground.mean == pytest.approx(pooled.mean(), abs=0.5)
    assert plan.foreground.std == pytest.approx(pooled.std(), abs=0.5)
    assert [plan.foreground.low, plan.foreground.high] == pytest.approx(np.percentile(pooled, [0.5, 99.5]), abs=2)


def test_ct_without_any_intensity_cannot_be_planned(made: SimpleNamespace) -> None:
    cases = [made.abdomen(k, marked=False) for k in range(12)]
    with pytest.raises(DataError, match="PLAN-INTENSITY"):
        make_plan(made.added(made.CT, cases), made.study_of(made.CT))


@pytest.mark.parametrize(("cropped", "intensity"), [(6, "zscore-nonzero"), (5, "zscore")])
def test_mr_that_is_mostly_background_is_normalised_inside(made: SimpleNamespace, cropped: int, intensity: str) -> None:
    cases = [CaseMeasurements((1.0, 1.0, 1.0), (64, 64, 64), 0.5 if k < cropped else 1.0, (0.1,)) for k in range(10)]
    plan = make_plan(made.added(made.MR, cases), made.study_of(made.MR))
    assert plan.intensity == intensity


def test_median_shape_is_that_after_resampling(made: SimpleNamespace) -> None:
    sizes = [((0.5, 0.5, 1.0), (400, 400, 90)), ((1.0, 1.0, 3.0), (300, 280, 20)), ((0.8, 0.8, 2.0), (320, 320, 40))]
    cases = [CaseMeasurements(spacing, shape, 1.0, (0.1,)) for spacing, shape in sizes]
    shape = fingerprint_statistics.median_shape(made.added(made.MR, cases), (0.8, 0.8, 2.0))
    exact = np.median([np.multiply(spacing, shape) / (0.8, 0.8, 2.0) for spacing, shape in sizes], axis=0)
    assert shape == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize("voxels", [32, 115, 138, 192, 232, 252, 256, 319, 320, 384, 482, 512, 1024])
def test_common_sizes_are_found_again_to_one_percent(made: SimpleNamespace, voxels: int) -> None:
    found = made.added(made.MR, [CaseMeasurements((0.767,) * 3, (voxels,) * 3, 1.0, (0.1,))])
    assert fingerprint_statistics.median_size(found)[0] == pytest.approx(voxels, rel=0.01)
    if voxels % 32 == 0:  # a voxel more would cost a whole step of padding
        assert fingerprint_statistics.median_shape(found, (0.767,) * 3) == (voxels,) * 3


FLAT = Scope(2, "US", ("background", "lesion"), 1, "none")


def test_flat_images_get_a_patch_and_keep_their_intensity(made: SimpleNamespace) -> None:
    found = made.added(FLAT, [CaseMeasurements((1.0, 1.0), (640, 480), 1.0, (0.1,))] * 40)
    plan = make_plan(found, made.study_of(FLAT))
    assert plan.spacing == ()
    assert plan.intensity == ""
    assert plan.patch == (640, 512)
    assert {len(level) for level in (*plan.strides, *plan.kernels)} == {2}


def test_flat_images_that_a_study_scales_are_planned_at_that_size(made: SimpleNamespace) -> None:
    found = made.added(FLAT, [CaseMeasurements((1.0, 1.0), (640, 480), 1.0, (0.1,))] * 40)
    assert make_plan(found, made.study_of(FLAT, preprocessing={"size": "160,128"})).patch == (160, 128)


def test_more_memory_gives_a_larger_batch_or_patch(made: SimpleNamespace) -> None:
    scope, sites = hospitals(made, "liver")
    small, large = (make_plan(merge(sites), made.study_of(scope), gb) for gb in (8.0, 40.0))
    assert np.prod(small.patch) * small.batch < np.prod(large.patch) * large.batch


@pytest.mark.parametrize("gb", [0.0, -8.0, float("nan")])
def test_memory_that_no_gpu_has_is_refused(made: SimpleNamespace, gb: float) -> None:
    with pytest.raises(ConfigError, match="gpu-gb"):
        make_plan(made.added(made.MR, []), made.study_of(made.MR), gb)


def test_images_too_small_for_the_network_are_refused(made: SimpleNamespace) -> None:
    found = made.added(made.MR, [CaseMeasurements((1.0, 1.0, 1.0), (12, 12, 12), 1.0, (0.1,))] * 5)
    with pytest.raises(DataError, match="PLAN-SMALL"):
        make_plan(found, made.study_of(made.MR))


def test_only_segmentation_is_planned(made: SimpleNamespace) -> None:
    task = {"kind": "classification", "dimension": 2, "modality": "US", "classes": "no,yes"}
    tables = {"task": task, "network": {"name": "cnn"}, "loss": {"name": "focal"}, "preprocessing": {"size": "64,64"}}
    with pytest.raises(ConfigError, match="classification"):
        make_plan(made.added(FLAT, []), made.study_of(FLAT, **tables))
