"""Flower's central differential privacy around a strategy: the noise hides a site, or nothing is released."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.serverapp import strategy as flower

from medfl import strategies
from medfl.errors import ExchangeError, QuorumError
from medfl.messages.records import to_array_record
from medfl.testing.fake_grid import Answer, FakeGrid, Model, reply_with_model

START: Model = {"w": np.zeros(500, np.float32)}
SITES = range(2, 7)


def answer(value: float, size: int = 1, **more: float) -> Answer:
    return reply_with_model({"w": np.full(500, value, np.float32)}, size, **more)


def start(inner: Any, answers: dict[int, Answer], model: Model = START, wrapper: str = "ServerSideFixedClipping") -> Any:
    norm = {"clipping_norm": 1.0} if "Fixed" in wrapper else {}
    wrapped = getattr(flower, f"DifferentialPrivacy{wrapper}")(
        inner, noise_multiplier=0.1, num_sampled_clients=len(SITES), **norm
    )
    return wrapped.start(FakeGrid(answers), to_array_record(model), num_rounds=2)


@pytest.mark.parametrize("kind", [strategies.FedAvg, strategies.FedProx])
def test_all_replies_of_equal_weight_are_released_with_their_noise(kind: Any) -> None:
    made = start(kind(fraction_evaluate=0.0), {site: answer(0.01) for site in SITES}).arrays["w"].numpy()
    assert made.std() == pytest.approx(0.1 / 5, rel=0.2)


@pytest.mark.parametrize("wrapper", ["ServerSideFixedClipping", "ServerSideAdaptiveClipping", "ClientSideFixedClipping"])
@pytest.mark.parametrize("kind", [strategies.FedAvg, strategies.FedProx])
def test_fewer_replies_than_the_noise_is_for_release_nothing(kind: Any, wrapper: str) -> None:
    answers = {site: answer(1.0 if site == 2 else np.nan) for site in SITES}
    strategy = kind(fraction_evaluate=0.0)
    with pytest.raises(QuorumError, match=r"PRIVACY-NOISE.* round 1: 1 replies count, and the noise .* is for 5"):
        start(strategy, answers, wrapper=wrapper)
    assert strategy.last_model["w"].numpy().tolist() == START["w"].tolist()  # what was released before


def test_a_reply_that_never_came_releases_nothing() -> None:
    with pytest.raises(QuorumError, match="PRIVACY-NOISE"):
        start(strategies.FedAvg(), {**{site: answer(0.01) for site in SITES}, 2: lambda _: None})


def test_unequal_weights_release_nothing() -> None:
    answers = {site: answer(0.01, 1000 if site == 2 else 1) for site in SITES}
    with pytest.raises(QuorumError, match=r"PRIVACY-NOISE.*unequal weights"):
        start(strategies.FedAvg(), answers)
    assert start(strategies.FedAvg(weighted_by_key="", fraction_evaluate=0.0), answers).arrays


@pytest.mark.parametrize(
    "kind", [strategies.FedAdam, strategies.FedMedian, strategies.Krum, strategies.FedDyn, strategies.FedBuff]
)
def test_a_rule_that_is_no_mean_is_refused_before_anything_is_sent(kind: Any) -> None:
    with pytest.raises(ExchangeError, match=f"PRIVACY-RULE.*{kind.__name__}"):
        start(kind(), {site: answer(0.01) for site in SITES})


@pytest.mark.parametrize("name", ["norm.running_var", "norm.num_batches_tracked"])
def test_running_statistics_and_counters_are_refused(name: str) -> None:
    kind = np.int64 if name.endswith("tracked") else np.float32
    with pytest.raises(ExchangeError, match="PRIVACY-BUFFERS"):
        start(strategies.FedAvg(), {site: answer(0.01) for site in SITES}, {**START, name: np.ones(1, kind)})


def test_without_a_wrapper_nothing_is_asked_of_replies() -> None:
    answers = {**{site: answer(0.01, site) for site in SITES}, 2: lambda _: None}
    assert strategies.FedAvg(fraction_evaluate=0.0).start(FakeGrid(answers), to_array_record(START), timeout=0.05).arrays
