"""q-FedAvg at the hospital: what the received model costs there."""

from __future__ import annotations

import numpy as np
import pytest

from medfl.clients import session
from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.algorithms.qfedavg import QFedAvgClient
from medfl.messages.records import TRAIN_LOSS, TRAIN_LOSS_BEFORE

STILL = {"name": "sgd", "learning-rate": 1e-12, "momentum": 0.0}


def test_the_loss_is_that_of_the_received_model(make_study, organs, make_task) -> None:
    study = make_study(optimizer=STILL, training={"batch-size": 2, "local-epochs": 1})
    numbers = session.train(make_task(study, organs()), QFedAvgClient()).metrics
    # other batches, and a model that stood still
    assert numbers[TRAIN_LOSS_BEFORE] == pytest.approx(numbers[TRAIN_LOSS], rel=0.05)


def test_a_better_model_has_a_smaller_loss(make_study, organs, make_task) -> None:
    study = make_study(optimizer={"name": "adam", "learning-rate": 0.02}, training={"local-steps": 30})
    first = session.train(make_task(study, organs()), QFedAvgClient())
    second = session.train(make_task(study, organs(), 2, first.arrays), QFedAvgClient())
    assert second.metrics[TRAIN_LOSS_BEFORE] < 0.8 * first.metrics[TRAIN_LOSS_BEFORE]


def test_training_is_that_of_fedavg_to_the_bit(make_study, organs, make_task) -> None:
    study = make_study()
    fair, plain = (
        session.train(make_task(study, organs()), algorithm) for algorithm in (QFedAvgClient(q=3.0), ClientAlgorithm())
    )
    assert all(np.array_equal(fair.arrays[name], plain.arrays[name]) for name in plain.arrays)
    assert fair.metrics.keys() - plain.metrics.keys() == {TRAIN_LOSS_BEFORE}
