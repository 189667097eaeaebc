from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from medfl.errors import ConfigError
from medfl.metrics import CaseScore, segmentation_metrics, segmentation_scores


def block(shape: tuple[int, ...], *where: slice, label: int = 1) -> NDArray[np.uint8]:
    mask = np.zeros(shape, np.uint8)
    if where:
        mask[where] = label
    return mask


def score(
    prediction: NDArray[np.uint8], truth: NDArray[np.uint8], spacing: tuple[float, ...], tolerance: float = 2.0
) -> CaseScore:
    return segmentation_scores(prediction, truth, spacing, ["organ"], surface=True, tolerance_mm=tolerance)["organ"]


FULL, EMPTY = block((3, 4), slice(1, 2), slice(1, 3)), block((3, 4))
DIAGONAL = 13.0  # of 3 x 4 pixels of 5/3 x 3 mm: hypot(5, 12)


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        (EMPTY, EMPTY, CaseScore(1.0, 0.0, 1.0, missed=False, false_positive=False, present=False)),
        (EMPTY, FULL, CaseScore(0.0, DIAGONAL, 0.0, missed=True, false_positive=False, present=True)),
        (FULL, EMPTY, CaseScore(0.0, DIAGONAL, 0.0, missed=False, false_positive=True, present=False)),
        (FULL, FULL, CaseScore(1.0, 0.0, 1.0, missed=False, false_positive=False, present=True)),
    ],
)
def test_every_cell_of_the_empty_mask_policy(
    prediction: NDArray[np.uint8], truth: NDArray[np.uint8], expected: CaseScore
) -> None:
    got = score(prediction, truth, (5 / 3, 3.0))
    assert got.hd95 == pytest.approx(expected.hd95)
    assert replace(got, hd95=expected.hd95) == expected


def test_half_overlap_has_dice_one_half() -> None:
    assert score(block((6, 6), slice(0, 2)), block((6, 6), slice(1, 3)), (1.0, 1.0)).dice == 0.5


def test_distances_are_in_millimetres() -> None:
    truth = block((24, 12, 12), slice(4, 10), slice(3, 9), slice(3, 9))
    shifted = np.roll(truth, 3, axis=0)
    assert score(shifted, truth, (2.5, 1.0, 1.0)).hd95 == pytest.approx(7.5)
    assert score(shifted, truth, (1.0, 1.0, 1.0)).hd95 == pytest.approx(3.0)


def test_surface_dice_counts_surfaces_within_the_tolerance() -> None:
    truth, shifted = block((12, 3), slice(3, 4)), block((12, 3), slice(5, 6))
    assert score(shifted, truth, (1.0, 1.0), tolerance=2.0).surface_dice == 1.0
    assert score(shifted, truth, (1.0, 1.0), tolerance=1.9).surface_dice == 0.0


# MONAI 1.6 hands a deprecated argument to itself
@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy.*:FutureWarning")
def test_agrees_with_monai() -> None:
    torch = pytest.importorskip("torch")
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance
    from monai.metrics.surface_dice import compute_surface_dice

    rng = np.random.default_rng(0)
    truth = block((20, 18, 16), slice(0, 9), slice(4, 12), slice(5, 16))
    prediction = np.roll(truth, 2, axis=1) * (rng.random(truth.shape) > 0.1).astype(np.uint8)
    spacing = (1.5, 0.7, 3.0)
    got = score(prediction, truth, spacing, tolerance=1.0)
    p, t = (torch.from_numpy(m)[None, None].float() for m in (prediction, truth))
    hd95: Any = compute_hausdorff_distance(p, t, include_background=True, percentile=95, spacing=spacing)
    nsd: Any = compute_surface_dice(p, t, [1.0], include_background=True, spacing=spacing)
    assert got.hd95 == pytest.approx(float(hd95), rel=1e-5)
    assert got.surface_dice == pytest.approx(float(nsd), rel=1e-5)


def test_every_class_is_scored_for_itself() -> None:
    truth = block((8, 8), slice(0, 2)) + block((8, 8), slice(4, 6), label=2)
    scores = segmentation_scores(block((8, 8), slice(0, 2)), truth, (1, 1), ["a", "b"], surface=False, tolerance_mm=2)
    assert (scores["a"].dice, scores["b"].dice, scores["b"].missed) == (1.0, 0.0, True)
    assert math.isnan(scores["a"].hd95)


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit together"):
        score(block((3, 4)), block((4, 3)), (1, 1))


def test_a_patient_counts_once_however_many_images() -> None:
    def image(dice: float, missed: bool = False) -> dict[str, CaseScore]:
        return {"Left lung": CaseScore(dice, 10 * dice, dice, missed=missed, false_positive=False, present=True)}

    metrics = segmentation_metrics(
        [("pat-1", image(0.0, missed=True)), ("pat-1", image(0.5)), ("pat-2", image(0.75))], ["Left lung"], 0.4
    )
    assert metrics == {
        "eval.patients": 2,
        "eval.loss": 0.4,
        "eval.surface-patients": 2,
        "eval.hidden": 0,
        "eval.loss-hidden": 0,
        "eval.surface-hidden": 0,
        "eval.dice.left-lung": 0.5,
        "eval.hd95.left-lung": 5.0,
        "eval.surface-dice.left-lung": 0.5,
        "eval.patients.left-lung": 2,
        "eval.present.left-lung": 2,
        "eval.missed.left-lung": 1,
        "eval.false-positive.left-lung": 0,
        "eval.scores-hidden.left-lung": 0,
        "eval.missed-hidden.left-lung": 0,
        "eval.false-positive-hidden.left-lung": 0,
    }


def test_a_class_counts_in_the_patients_where_somebody_looked_for_it() -> None:
    found, absent = (
        CaseScore(d, 1.0, d, missed=False, false_positive=False, present=p) for d, p in ((0.5, True), (1.0, False))
    )
    scores = [("pat-1", {"a": found, "b": found}), ("pat-2", {"a": absent}), ("pat-3", {"a": found})]
    metrics = segmentation_metrics(scores, ["a", "b"], 0.0)
    assert (metrics["eval.patients"], metrics["eval.patients.a"], metrics["eval.patients.b"]) == (3, 3, 1)
    assert (metrics["eval.present.a"], metrics["eval.dice.a"], metrics["eval.dice.b"]) == (2, pytest.approx(2 / 3), 0.5)


def test_unmeasured_surfaces_are_reported_by_a_count_of_zero() -> None:
    image = {"organ": CaseScore(0.5, math.nan, math.nan, missed=False, false_positive=False, present=True)}
    metrics = segmentation_metrics([("pat-1", image)], ["organ"], 0.0)
    assert (metrics["eval.surface-patients"], metrics["eval.hd95.organ"], metrics["eval.dice.organ"]) == (0, 0.0, 0.5)


def test_classes_that_share_a_key_are_refused() -> None:
    with pytest.raises(ConfigError, match="t-stage"):
        segmentation_metrics([], ["T stage", "t_stage"], 0.0)
