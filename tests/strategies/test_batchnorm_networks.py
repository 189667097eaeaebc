"""A network with BatchNorm under every strategy, at sites whose variances differ by 10^6, of which one drops out."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from flwr.serverapp import strategy as flower

from medfl import strategies
from medfl.errors import ExchangeError
from medfl.testing.fake_grid import Model
from tests.strategies import batchnorm_app
from tools.batchnorm_outcomes import OUTCOMES, Outcome

TRANSFORMS: Mapping[str, Any] = {
    "ClipNorm": lambda: strategies.ClipNorm(0.5),
    "NormOutlierFilter": lambda: strategies.NormOutlierFilter(3.0),
    **{name: getattr(strategies, name) for name in ("Bf16", "Int8", "TopK")},
}
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "FedAvgM": {"server_momentum": 0.9},
    "QFedAvg": {"client_learning_rate": 0.05},
    "MultiKrum": {"num_nodes_to_select": 2},
    "FedBuff": {"round_timeout": 0.05, "server_learning_rate": 1.5},
    "Scaffold": {"server_learning_rate": 1.5},
    "Cyclic": {"hop_timeout": 0.05},
}
WRAPPERS = [name for name in flower.__all__ if name.startswith("DifferentialPrivacy")]


def build(name: str) -> Any:
    """Return a strategy, or FedAvg with a transform or in a wrapper."""
    if name in TRANSFORMS:
        return strategies.FedAvg(transforms=[TRANSFORMS[name]()])
    if name in WRAPPERS:
        norm = {"clipping_norm": 1.0} if "Fixed" in name else {}
        inner = strategies.FedAvg(weighted_by_key="")
        return getattr(flower, name)(inner, noise_multiplier=0.1, num_sampled_clients=6, **norm)
    return getattr(strategies, name)(**OPTIONS.get(name, {}))


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: outcome.name)
def test_variances_stay_positive_and_losses_finite_or_the_run_is_refused(outcome: Outcome) -> None:
    strategy = build(outcome.name)
    if outcome.code:
        with pytest.raises(ExchangeError, match=outcome.code):
            batchnorm_app.run(strategy)
        return
    models, losses = batchnorm_app.run(strategy)
    assert len(models) == 5
    assert smallest_variance(models) > 0
    assert len(losses) == 5
    assert all(map(math.isfinite, losses))


def smallest_variance(models: list[Model]) -> float:
    return min(float(model["1.running_var"].min()) for model in models)


def test_the_table_names_every_strategy_and_transform() -> None:
    bases = {"ClientStateMean", "DiskStrategy", "ServerOptimizer", "ReplyTransform", "Reply"}
    classes = {name for name in strategies.__all__ if isinstance(getattr(strategies, name), type)} - bases
    assert {outcome.name for outcome in OUTCOMES} == classes | set(WRAPPERS)


@pytest.mark.parametrize("name", ["FedAvgM", "FedAdam", "FedYogi", "FedAdagrad", "FedNova", "FedDyn", "Scaffold"])
def test_running_statistics_are_those_of_fedavg(name: str) -> None:
    (averaged,), _ = batchnorm_app.run(strategies.FedAvg(), 1)
    (made,), _ = batchnorm_app.run(build(name), 1)
    for key in ("1.running_mean", "1.running_var"):
        assert np.array_equal(made[key], averaged[key])


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_taken_for_parameters_they_would_turn_negative(momentum: float) -> None:
    """Where activations shrink; a user who names all tensors as parameters has it so, as in Flower."""
    everything = batchnorm_app.make_net().state_dict().keys()
    strategy = strategies.FedAvgM(server_momentum=momentum, parameter_names=everything)
    models, _ = batchnorm_app.run(strategy, 6, scale=1e-3)
    assert (smallest_variance(models) < 0) is (momentum > 0)
    models, _ = batchnorm_app.run(strategies.FedAvgM(server_momentum=momentum), 6, scale=1e-3)
    assert smallest_variance(models) > 0


def test_it_is_logged_once_what_the_buffers_are(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "flwr"):
        batchnorm_app.run(strategies.FedAdam(), 2)
    told = [record.message for record in caplog.records if "are buffers" in record.message]
    assert len(told) == 1
    assert told[0].startswith("2 tensors are buffers, averaged and not optimised (1.running_mean, 1.running_var)")
