"""Flower's central differential privacy around a strategy: the noise hides a site, or nothing is released."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from flwr.serverapp import SamplingMethod
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


@pytest.mark.parametrize("kind", [strategies.FedAvg, strategies.FedProx])
def test_a_wrapper_with_flowers_accountant_refuses_our_classes_itself(kind: Any) -> None:
    options: dict[str, Any] = {"noise_multiplier": 1.0, "clipping_norm": 1.0, "num_sampled_clients": 5}
    options["accountant"] = SimpleNamespace(config=SimpleNamespace(sampling_method=SamplingMethod.NO_AMPLIFICATION))
    wrapper = flower.DifferentialPrivacyServerSideFixedClipping
    assert wrapper(getattr(flower, kind.__name__)(), **options)
    with pytest.raises(ValueError, match="requires a strategy using"):
        wrapper(kind(), **options)


class Delegating(flower.Strategy):
    """A strategy of someone's own, that hands everything on to another."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def configure_train(self, *arguments: Any) -> Any:
        return self.inner.configure_train(*arguments)

    def aggregate_train(self, *arguments: Any) -> Any:
        return self.inner.aggregate_train(*arguments)

    def configure_evaluate(self, *arguments: Any) -> Any:
        return self.inner.configure_evaluate(*arguments)

    def aggregate_evaluate(self, *arguments: Any) -> Any:
        return self.inner.aggregate_evaluate(*arguments)

    def summary(self) -> None:
        self.inner.summary()


def retrying(step: Any) -> Any:
    def call(*arguments: Any) -> Any:
        return step(*arguments)

    return call


class Decorated(strategies.FedAvg):
    configure_train = retrying(strategies.FedAvg.configure_train)


@pytest.mark.parametrize(
    "inner",
    [Delegating(strategies.FedAvg()), Delegating(Delegating(strategies.FedAvg())), Decorated(), Delegating(Decorated())],
    ids=["another strategy", "two others", "a decorator", "both"],
)
def test_a_wrapper_is_found_behind(inner: Any) -> None:
    with pytest.raises(QuorumError, match="PRIVACY-NOISE"):
        start(inner, {site: answer(1.0 if site == 2 else np.nan) for site in SITES})


def test_a_rule_behind_another_strategy_is_refused() -> None:
    with pytest.raises(ExchangeError, match=r"PRIVACY-RULE.*FedAdam"):
        start(Delegating(strategies.FedAdam()), {site: answer(0.01) for site in SITES})


def test_a_strategy_that_runs_within_an_evaluation_is_in_no_wrapper() -> None:
    answers = {site: answer(0.01) for site in SITES}

    def evaluate(server_round: int, arrays: Any) -> None:
        strategies.FedAdam(fraction_evaluate=0.0).start(FakeGrid(answers), to_array_record(START), num_rounds=1)

    wrapped = flower.DifferentialPrivacyServerSideFixedClipping(strategies.FedAvg(fraction_evaluate=0.0), 0.1, 1.0, len(SITES))
    assert wrapped.start(FakeGrid(answers), to_array_record(START), num_rounds=1, evaluate_fn=evaluate).arrays


class Saving(strategies.FedAvg):
    """FedAvg of someone's own that keeps every model, as Flower's documentation shows."""

    def aggregate_train(self, server_round: int, replies: Any) -> Any:
        arrays, metrics = super().aggregate_train(server_round, replies)
        self.saved = arrays
        return arrays, metrics


def test_a_strategy_that_saves_its_models_is_released() -> None:
    assert start(Saving(fraction_evaluate=0.0), {site: answer(0.01) for site in SITES}).arrays


class Stretching(strategies.ReplyTransform):
    def transform(self, reply: Any) -> Any:
        return dataclasses.replace(reply, arrays={name: x * x.dtype.type(100) for name, x in reply.arrays.items()})


class StretchingClip(strategies.ClipNorm):
    transform = Stretching.transform


@pytest.mark.parametrize("wrapper", ["ServerSideFixedClipping", "ServerSideAdaptiveClipping", "ClientSideFixedClipping"])
@pytest.mark.parametrize(
    "transform", [Stretching(), StretchingClip(1.0), strategies.Bf16(), strategies.Int8(), strategies.TopK()]
)
def test_a_transform_that_may_lengthen_updates_is_refused_before_anything_is_sent(transform: Any, wrapper: str) -> None:
    asked = []
    answers: dict[int, Answer] = dict.fromkeys(SITES, lambda message: asked.append(message))
    with pytest.raises(ExchangeError, match=f"PRIVACY-RULE.*{type(transform).__name__}"):
        start(strategies.FedAvg(transforms=[strategies.ClipNorm(1.0), transform]), answers, wrapper=wrapper)
    assert asked == []


class Shortest(strategies.ClipNorm):
    """A transform of someone's own that says what it does."""

    only_shortens = True

    def transform(self, reply: Any) -> Any:
        return super().transform(reply)


def test_transforms_that_only_shorten_updates_or_leave_them_out_are_released() -> None:
    transforms = [strategies.ClipNorm(0.1), strategies.NormOutlierFilter(3.0), Shortest(0.1)]
    answers = {site: answer(0.01) for site in SITES}
    assert start(strategies.FedAvg(transforms=transforms, fraction_evaluate=0.0), answers).arrays


@pytest.mark.parametrize("transforms", [(), (strategies.NormOutlierFilter(1000.0),)])
def test_a_reply_in_another_order_than_the_model_is_left_out_as_it_was_clipped_by_place(transforms: Any) -> None:
    model: Model = {"a": np.full(500, 100.0, np.float32), "b": np.zeros(500, np.float32)}
    made = {name: x + np.float32(0.001) for name, x in model.items()}
    answers = {site: reply_with_model(made, 1) for site in SITES}
    turned = {2: reply_with_model({"b": made["a"], "a": made["b"]}, 1)}
    assert start(strategies.FedAvg(transforms=transforms, fraction_evaluate=0.0), answers, model).arrays
    with pytest.raises(QuorumError, match=r"PRIVACY-NOISE.*MODEL-MISMATCH.*order"):
        start(strategies.FedAvg(transforms=transforms), answers | turned, model)


@pytest.mark.parametrize("name", ["norm.running_var", "norm.num_batches_tracked"])
def test_running_statistics_and_counters_are_refused(name: str) -> None:
    kind = np.int64 if name.endswith("tracked") else np.float32
    with pytest.raises(ExchangeError, match="PRIVACY-BUFFERS"):
        start(strategies.FedAvg(), {site: answer(0.01) for site in SITES}, {**START, name: np.ones(1, kind)})


def test_without_a_wrapper_nothing_is_asked_of_replies() -> None:
    answers = {**{site: answer(0.01, site) for site in SITES}, 2: lambda _: None}
    assert strategies.FedAvg(fraction_evaluate=0.0).start(FakeGrid(answers), to_array_record(START), timeout=0.05).arrays
