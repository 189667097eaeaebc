"""Results of single cases: volumes by hand, and nothing said of what nobody annotated."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medfl.clients.tasks.case_results import classification_result, segmentation_result
from medfl.metrics import segmentation_scores

CLASSES = ("liver", "tumour")


def masks(dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a prediction with 8 voxels of liver and none of tumour, and a truth with 4 and 2."""
    shape = (4, 4, 4)[:dimension]
    prediction, truth = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    prediction.flat[:8] = 1
    truth.flat[:4] = 1
    truth.flat[4:6] = 2
    return prediction, truth


@pytest.mark.parametrize(("dimension", "spacing", "voxel"), [(3, (2.0, 5.0, 50.0), 0.5), (2, (1.0, 1.0), 1.0)])
def test_volumes_are_in_millilitres_and_areas_in_pixels(dimension: int, spacing: tuple[float, ...], voxel: float) -> None:
    prediction, truth = masks(dimension)
    scores = segmentation_scores(prediction, truth, spacing, CLASSES, surface=False, tolerance_mm=1.0)
    result = segmentation_result("case-A", "pat-1", CLASSES, prediction, truth, spacing, scores)
    liver, tumour = result.structures.values()
    assert (liver.predicted, liver.true) == (8 * voxel, 4 * voxel)
    assert (tumour.predicted, tumour.true) == (0.0, 2 * voxel)
    assert liver.dice == pytest.approx(2 * 4 / 12)
    assert result.flags == ("missed tumour",)


def test_what_nobody_annotated_has_no_truth_and_no_flag() -> None:
    prediction, truth = masks(3)
    scores = segmentation_scores(prediction, truth, (1, 1, 1), CLASSES, surface=False, tolerance_mm=1.0, annotated=(2,))
    liver, tumour = segmentation_result("c", "p", CLASSES, prediction, truth, (1, 1, 1), scores).structures.values()
    assert math.isnan(liver.true)
    assert math.isnan(liver.dice)
    assert liver.flag == ""
    assert tumour.flag == "missed"


def test_a_prediction_without_a_truth_has_volumes_alone() -> None:
    prediction, _ = masks(3)
    result = segmentation_result("c", "p", CLASSES, prediction, None, (10, 10, 10), {})
    assert [each.predicted for each in result.structures.values()] == [8.0, 0.0]
    assert math.isnan(result.score)
    assert result.flags == ()


def test_a_classified_case_says_what_the_model_called_it() -> None:
    result = classification_result("c", "p", ("clear", "nodule"), [0.75, 0.25], 1)
    assert (result.truth, result.predicted, result.score, result.flags) == ("nodule", "clear", 0.25, ("wrong class",))
    unknown = classification_result("c", "p", ("clear", "nodule"), [0.75, 0.25], None)
    assert (unknown.truth, unknown.predicted, unknown.flags) == ("", "clear", ())
