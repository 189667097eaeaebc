"""Scores by patient: within the range that the study states, whatever the model."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medfl import metrics
from medfl.clients.networks.arrays import get_arrays
from medfl.clients.networks.network_builders import build_network
from medfl.clients.session import evaluate
from medfl.clients.tasks.scores import mean_loss
from medfl.testing.sites import make_classification_site, make_segmentation_site, make_site, make_study


@pytest.mark.parametrize("loss", [math.inf, math.nan, -math.inf, 1e30])
def test_one_patient_moves_the_mean_loss_by_the_limit_at_most(loss: float) -> None:
    others = [(f"pat-{k}", 0.5) for k in range(9)]
    assert mean_loss([*others, ("odd", loss)], limit=3.0) == pytest.approx((9 * 0.5 + 3.0) / 10)
    assert mean_loss([*others, ("odd", loss), ("odd", 0.0), ("odd", -loss)], limit=3.0) <= (9 * 0.5 + 3.0) / 10


def test_images_are_averaged_before_the_limit_and_nobody_has_a_loss_of_nothing() -> None:
    assert mean_loss([("a", 1.0), ("a", 5.0), ("b", -2.0)], limit=4.0) == 1.5
    assert mean_loss([], limit=4.0) == 0.0


@pytest.mark.parametrize("kind", ["segmentation", "classification"])
def test_a_model_that_is_sure_of_the_wrong_class_scores_within_the_range(kind: str) -> None:
    study = make_study(kind, evaluation={"surface": "always", "max_distance": 5.0})
    prepared = make_segmentation_site() if kind == "segmentation" else make_classification_site()
    net = build_network(study)
    arrays = get_arrays(net)
    last = next(name for name in reversed(arrays) if name.endswith("bias"))
    arrays[last] = np.array([-1e4, 1e4], dtype=np.float32)
    scores = evaluate(study, make_site(), prepared, net, arrays, "validation")
    assert 0.4 * study.max_loss < scores["eval.loss"] <= study.max_loss  # type: ignore[operator]
    metrics.check(study, scores)
    if kind == "segmentation":
        assert 0 < scores["eval.hd95.organ"] <= 5.0  # type: ignore[operator]
