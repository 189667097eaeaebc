"""APFL: the global model is FedAvg's; its mixture with a local model is the personal one. Numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medfl.clients import session
from medfl.clients.algorithms.apfl import ApflClient
from medfl.errors import TrainingError
from medfl.messages import records

PLAIN_SGD = {"name": "sgd", "learning-rate": 0.1, "momentum": 0.0}


def shifted(model, by):
    return {
        n: np.asarray(x + np.float32(by) * np.cos(np.arange(x.size, dtype=np.float32)).reshape(x.shape))
        for n, x in model.items()
    }


@pytest.fixture
def mixture(make_study, organs, make_task):
    """Return a function that finds alpha * v and alpha before a round, from the personal models for two received ones."""

    def find(number: int):
        task = make_task(make_study(), organs(), number)

        def personal(value: float):
            received = {n: np.full_like(x, value) for n, x in task.received.items()}
            return ApflClient().personal_model(make_task(task.study, organs(), number, received))

        at_zero, at_one = personal(0.0), personal(1.0)  # alpha * v, and alpha * v + (1 - alpha)
        alpha = 1.0 - float(np.mean([np.mean(at_one[n] - at_zero[n]) for n in at_zero]))
        return at_zero, alpha

    return find


@pytest.mark.parametrize("optimizer", [{"name": "adam"}, {**PLAIN_SGD, "clip-norm": 0.1}])
@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_the_global_model_is_that_of_plain_training(make_study, organs, make_task, alpha, optimizer) -> None:
    network = {"name": "unet", "channels": "4,8", "residual-units": 1, "dropout": 0.2}
    study = make_study(training={"local-steps": 3}, optimizer=optimizer, network=network)
    received = None
    for number in (1, 2):
        apfl, plain = (session.train(make_task(study, organs(), number, received), a) for a in (ApflClient(alpha), None))
        assert all(np.array_equal(apfl.arrays[n], plain.arrays[n]) for n in plain.arrays)
        assert (apfl.metrics[records.TRAIN_STEPS], plain.metrics[records.TRAIN_STEPS]) == (6, 3)
        assert apfl.metrics[records.TRAIN_LOSS] == plain.metrics[records.TRAIN_LOSS]
        received = plain.arrays


def test_with_alpha_0_the_personal_model_is_the_received_one(make_study, organs, make_task) -> None:
    study = make_study(training={"local-steps": 3})
    trained = session.train(make_task(study, organs()), ApflClient(0.0, adaptive=False)).arrays
    personal = ApflClient(0.0, adaptive=False).personal_model(make_task(study, organs(), 2, trained))
    assert personal.keys() == trained.keys()
    assert all(np.array_equal(personal[n], x) for n, x in trained.items())


def test_a_step_of_the_local_model_and_of_alpha_by_hand(make_study, organs, make_task, mixture) -> None:
    study, rate = make_study(optimizer=PLAIN_SGD, training={"local-steps": 1}), 0.1
    w = make_task(study, organs()).received
    session.train(make_task(study, organs(), 1, shifted(w, 0.1)), ApflClient(0.6, adaptive=False))
    scaled_v, alpha = mixture(2)
    v = {n: x / np.float32(alpha) for n, x in scaled_v.items()}
    assert alpha == pytest.approx(0.6, abs=1e-6)
    mixed = {n: np.float32(alpha) * v[n] + np.float32(1 - alpha) * w[n] for n in w}
    stepped = session.train(make_task(study, organs(), 2, mixed)).arrays
    gradient = {n: (mixed[n] - stepped[n]) / np.float32(rate) for n in w}  # of the loss at the mixture, on the same batch
    session.train(make_task(study, organs(), 2, w), ApflClient(0.1))
    scaled_v, new_alpha = mixture(3)
    slope = sum(float(np.sum((v[n] - w[n]) * gradient[n])) for n in w)
    assert new_alpha == pytest.approx(alpha - rate * slope, abs=1e-4)
    assert abs(rate * slope) > 1e-3
    for name, tensor in scaled_v.items():
        assert tensor / new_alpha == pytest.approx(v[name] - rate * alpha * gradient[name], abs=1e-5)


def test_alpha_adapts_once_a_round_within_0_and_1(make_study, organs, make_task, mixture) -> None:
    study = make_study(optimizer={**PLAIN_SGD, "learning-rate": 1.0}, training={"local-steps": 2})
    w = make_task(study, organs()).received
    alphas = []
    for by in (20.0, -20.0):
        session.train(make_task(study, organs(), 1, shifted(w, by)), ApflClient(0.5, adaptive=False))
        session.train(make_task(study, organs(), 2, w), ApflClient())
        alphas.append(mixture(3)[1])
    assert all(-1e-6 <= alpha <= 1.0 + 1e-6 for alpha in alphas)
    assert any(alpha != pytest.approx(0.5, abs=1e-3) for alpha in alphas)
    session.train(make_task(study, organs(), 1, w), ApflClient(0.5, adaptive=False))
    fixed = session.train(make_task(study, organs(), 2, w), ApflClient(0.5, adaptive=False))
    assert fixed.metrics[records.TRAIN_STEPS] == 4
    assert mixture(3)[1] == pytest.approx(0.5, abs=1e-6)


def test_a_local_model_that_diverges_is_not_kept(make_study, organs, make_task) -> None:
    study = make_study(optimizer=PLAIN_SGD, training={"local-steps": 1})
    explosive = make_study(optimizer={**PLAIN_SGD, "learning-rate": 1e30}, training={"local-steps": 1})
    w = make_task(study, organs()).received
    session.train(make_task(explosive, organs(), 1), ApflClient())  # leaves a local model of about 1e30
    before = ApflClient().personal_model(make_task(study, organs(), 2, w))
    with pytest.raises(TrainingError, match="WEIGHTS-NONFINITE"):
        session.train(make_task(study, organs(), 2, w), ApflClient())
    after = ApflClient().personal_model(make_task(study, organs(), 3, w))
    assert all(np.array_equal(before[n], after[n]) for n in before)
