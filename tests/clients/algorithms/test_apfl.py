"""APFL: the global model is FedAvg's; a mixture with the site's own answers at the site. Numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medfl.clients.algorithms.apfl import ApflClient
from medfl.clients.training import session
from medfl.errors import TrainingError
from medfl.messages import records

PLAIN_SGD = {"name": "sgd", "learning-rate": 0.1, "momentum": 0.0}


def shifted(model, by):
    return {
        n: np.asarray(x + np.float32(by) * np.cos(np.arange(x.size, dtype=np.float32)).reshape(x.shape))
        for n, x in model.items()
    }


@pytest.mark.parametrize("optimizer", [{"name": "adam"}, {**PLAIN_SGD, "clip-norm": 0.1}])
@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_the_global_model_is_that_of_plain_training(make_study, organs, asked, alpha, optimizer) -> None:
    network = {"name": "unet", "channels": "4,8", "residual-units": 1, "dropout": 0.2}
    study = make_study(training={"local-steps": 3}, optimizer=optimizer, network=network)
    received = None
    for number in (1, 2):
        apfl, plain = (session.train(asked(study, organs(), number, received), half) for half in (ApflClient(alpha), None))
        assert all(np.array_equal(apfl.arrays[n], plain.arrays[n]) for n in plain.arrays)
        assert (apfl.metrics[records.TRAIN_STEPS], plain.metrics[records.TRAIN_STEPS]) == (6, 3)
        assert apfl.metrics[records.TRAIN_LOSS] == plain.metrics[records.TRAIN_LOSS]
        received = plain.arrays


def test_with_a_share_of_0_the_mixture_is_the_received_model(make_study, organs, asked) -> None:
    study = make_study(training={"local-steps": 3})
    trained = session.train(asked(study, organs()), ApflClient(0.0, adaptive=False)).arrays
    own = ApflClient(0.0, adaptive=False).personal_model(asked(study, organs(), 2, trained))
    assert own.keys() == trained.keys()
    assert all(np.array_equal(own[n], x) for n, x in trained.items())


def test_a_step_of_the_own_model_and_of_its_share_by_hand(make_study, organs, asked) -> None:
    study = make_study(optimizer=PLAIN_SGD, training={"local-steps": 1})
    w = asked(study, organs()).received
    v, alpha, rate = shifted(w, 0.1), 0.6, 0.1
    mixed = {n: np.float32(alpha) * v[n] + np.float32(1 - alpha) * w[n] for n in w}
    stepped = session.train(asked(study, organs(), 2, mixed)).arrays
    gradient = {n: (mixed[n] - stepped[n]) / np.float32(rate) for n in w}  # of the loss at the mixture, on the same batch
    asked(study, organs()).remembered().save("apfl", {**v, "::alpha": np.array(alpha)})
    session.train(asked(study, organs(), 2, w), ApflClient(0.1))
    kept = asked(study, organs(), 3).remembered().load("apfl")
    slope = sum(float(np.sum((v[n] - w[n]) * gradient[n])) for n in w)
    assert float(kept.pop("::alpha")) == pytest.approx(alpha - rate * slope, abs=1e-4)
    assert abs(rate * slope) > 1e-3
    for name, tensor in kept.items():
        assert tensor == pytest.approx(v[name] - rate * alpha * gradient[name], abs=1e-5)


def test_the_share_is_learnt_once_a_round_within_0_and_1(make_study, organs, asked) -> None:
    study = make_study(optimizer={**PLAIN_SGD, "learning-rate": 1.0}, training={"local-steps": 2})
    w = asked(study, organs()).received
    shares = []
    for number, sign in ((2, 20.0), (3, -20.0)):
        asked(study, organs(), 1).remembered().save("apfl", {**shifted(w, sign), "::alpha": np.array(0.5)})
        session.train(asked(study, organs(), number, w), ApflClient())
        shares.append(float(asked(study, organs(), number + 1).remembered().load("apfl")["::alpha"]))
    assert all(0.0 <= share <= 1.0 for share in shares)
    fixed = session.train(asked(study, organs(), 2, w), ApflClient(0.5, adaptive=False))
    assert fixed.metrics[records.TRAIN_STEPS] == 4
    assert float(asked(study, organs(), 3).remembered().load("apfl")["::alpha"]) == 0.5


def test_an_own_model_that_diverges_is_not_kept(make_study, organs, asked) -> None:
    study = make_study(optimizer=PLAIN_SGD, training={"local-steps": 1})
    w = asked(study, organs()).received
    broken = {n: x * np.float32(1e30) for n, x in w.items()}
    asked(study, organs(), 1).remembered().save("apfl", {**broken, "::alpha": np.array(0.5)})
    with pytest.raises(TrainingError, match="WEIGHTS-NONFINITE"):
        session.train(asked(study, organs(), 2, w), ApflClient())
