"""Ditto: the global model is FedAvg's; the personal one follows the site's images, held by a proximal term."""

from __future__ import annotations

import numpy as np
import pytest

from medfl.clients import session
from medfl.clients.algorithms.ditto import DittoClient
from medfl.clients.networks.arrays import get_arrays, load_arrays
from medfl.clients.training.loop import train_steps
from medfl.messages import records

PLAIN_SGD = {"name": "sgd", "learning-rate": 0.1, "momentum": 0.0}


def same(one, two) -> bool:
    return one.keys() == two.keys() and all(np.array_equal(one[n], two[n]) for n in one)


def test_the_global_model_is_that_of_plain_training(make_study, organs, make_task) -> None:
    study = make_study(training={"local-steps": 3})
    ditto, plain = (session.train(make_task(study, organs()), algorithm) for algorithm in (DittoClient(0.5), None))
    assert same(ditto.arrays, plain.arrays)
    assert ditto.metrics[records.TRAIN_LOSS] == plain.metrics[records.TRAIN_LOSS]
    assert (ditto.metrics[records.TRAIN_STEPS], plain.metrics[records.TRAIN_STEPS]) == (6, 3)
    assert not ditto.records


def test_without_the_proximal_term_the_personal_model_is_trained_alone(make_study, organs, make_task) -> None:
    study = make_study(training={"local-steps": 3})
    personal = make_task(study, organs()).received
    for number in (1, 2, 3):
        received = {n: x * 0.9 if x.dtype.kind == "f" else x for n, x in personal.items()} if number > 1 else personal
        task = make_task(study, organs(), number, received)
        assert same(DittoClient(0.0).personal_model(task), personal)
        session.train(task, DittoClient(0.0))
        alone = make_task(study, organs(), number, personal)
        load_arrays(alone.net, personal)
        train_steps(alone, alone.net, phase=1)
        personal = get_arrays(alone.net)
    assert same(DittoClient(0.0).personal_model(make_task(study, organs(), 4)), personal)


def test_the_proximal_term_pulls_to_the_received_model(make_study, organs, make_task) -> None:
    study = make_study(optimizer=PLAIN_SGD, training={"local-steps": 1})
    task = make_task(study, organs(), 2)
    before = {n: x + np.float32(0.1) for n, x in task.received.items()}
    after = {}
    for strength in (0.0, 0.5):
        make_task(study, organs(), 1).state.save("ditto", before)
        session.train(make_task(study, organs(), 2), DittoClient(strength))
        after[strength] = DittoClient(strength).personal_model(make_task(study, organs(), 3))
    for name in before:  # eta * lambda * (v - w) = 0.1 * 0.5 * 0.1
        assert after[0.0][name] - after[0.5][name] == pytest.approx(0.005, abs=1e-6)


def test_the_first_personal_model_is_the_received_one(make_study, organs, make_task) -> None:
    task = make_task(make_study(), organs(), 3)
    assert DittoClient().personal_model(task) is task.received
