"""Buffers, such as running statistics: averaged, never optimised, never counted in norms and distances."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord
from torch import nn

from medfl import strategies
from medfl.errors import ExchangeError
from medfl.messages.records import to_array_record
from medfl.strategies import read_parameter_names
from medfl.strategies.base.model_buffers import find_buffers
from medfl.testing.fake_grid import Answer, FakeGrid, Model, reply_with_model
from tests.strategies.rounds import play, read

START: Model = {"weight": np.zeros(4, np.float32), "running_var": np.ones(1, np.float32)}


def model(weight: float, variance: float) -> Model:
    return {"weight": np.full(4, weight, np.float32), "running_var": np.full(1, variance, np.float32)}


def answer(weight: float, variance: float, size: int = 10, **more: float) -> Answer:
    return reply_with_model(model(weight, variance), size, **more)


def made_of(strategy: Any, *answers: Answer) -> Model:
    (made,) = play(strategy, START, [lambda _: dict(enumerate(answers, start=2))])
    return made


HONEST = [answer(1 + 0.01 * k, variance) for k, variance in enumerate([100, 200, 400, 800])]
ATTACKER = answer(-10, 210)  # in the middle of the variances


@pytest.mark.parametrize(
    "strategy",
    [strategies.Krum(), strategies.MultiKrum(num_nodes_to_select=3), strategies.Rfa()],
    ids=lambda strategy: type(strategy).__name__,
)
def test_a_robust_rule_is_not_misled_by_variances(strategy: Any) -> None:
    made = made_of(strategy, *HONEST, ATTACKER)
    assert made["weight"] == pytest.approx(1.015, abs=0.016)
    assert made["running_var"] == 210  # the median of all


@pytest.mark.parametrize("kind", [strategies.Krum, strategies.Rfa])
def test_nor_by_an_attacker_whose_variances_alone_are_bad(kind: Any) -> None:
    made = made_of(kind(), *HONEST, answer(1.01, -1e6))
    assert made["running_var"] == 200


def test_a_norm_is_that_of_the_parameters() -> None:
    clipped = made_of(strategies.FedAvg(transforms=[strategies.ClipNorm(1.0)]), answer(0.25, 4000), answer(1.0, 2000))
    assert clipped["weight"] == pytest.approx((0.25 + 0.5) / 2)
    assert clipped["running_var"] == 3000
    rejecting = strategies.FedAvg(transforms=[strategies.NormOutlierFilter(3.0)])
    made_of(rejecting, *HONEST, answer(1.0, 16000), answer(9.0, 300))
    assert [reply.status for reply in rejecting.last_round.replies] == ["ok"] * 5 + ["refused"]


def test_qfedavg_does_not_count_variances_as_length() -> None:
    losses = {"train_loss": 0.5}
    near, far = (made_of(strategies.QFedAvg(0.1, q=1.0), answer(1, v, **losses), answer(2, v, **losses)) for v in (1.0, 1000.0))
    assert near["weight"].tolist() == far["weight"].tolist()
    assert far["running_var"] == 1000


def test_fednova_weighs_buffers_by_size_whatever_the_steps() -> None:
    steps = [{"train.steps": 20}, {"train.steps": 200}]
    made = made_of(strategies.FedNova(), answer(1, 0.25, 10, **steps[0]), answer(1, 0.75, 30, **steps[1]))
    assert made["running_var"] == pytest.approx(0.625)
    assert list(made) == list(START)


def test_the_reply_that_fednova_leaves_out_counts_in_no_buffer() -> None:
    steps = {"train.steps": 20}
    strategy = strategies.FedNova()
    assert made_of(strategy, answer(1, 0.25, **steps), answer(np.nan, 0.75, **steps))["running_var"] == 0.25


@pytest.mark.parametrize("kind", [strategies.FedBuff, strategies.Scaffold])
def test_a_server_that_steps_further_than_the_mean_does_not_so_with_variances(kind: Any) -> None:
    strategy = kind(server_learning_rate=3.0, **({"buffer": 2} if kind is strategies.FedBuff else {}))
    control = {"control": to_array_record({"weight": np.zeros(4, np.float32)})}

    def reply(message: Any) -> Any:
        made = answer(1, 0.25)(message)
        made.content.update(control if kind is strategies.Scaffold else {})
        return made

    made = made_of(strategy, reply, reply)
    assert made["weight"] == pytest.approx(3.0)
    assert made["running_var"] == 0.25


class Layer(nn.Module):
    """A network whose buffers are not named as running statistics, with a layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = self.same = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("moving_scale", torch.ones(2))


def test_the_names_of_the_parameters_are_read_from_a_network() -> None:
    net = Layer()
    names = read_parameter_names(net)
    assert names == {"linear.weight", "linear.bias", "same.weight", "same.bias", "norm.weight", "norm.bias"}
    arrays = ArrayRecord(net.state_dict())
    half = {name: array.numpy() * 0.5 if array.numpy().dtype.kind == "f" else array.numpy() for name, array in arrays.items()}
    for strategy, expected in (
        (strategies.FedAvgM(server_learning_rate=2.0, parameter_names=names), 0.5),
        (strategies.FedAvgM(server_learning_rate=2.0), 0.0),
    ):
        (made,) = play(strategy, read(arrays), [lambda _: dict.fromkeys((2, 3), reply_with_model(half, 1))])
        assert made["moving_scale"] == pytest.approx(expected)
        assert made["norm.running_var"] == pytest.approx(0.5)
        assert made["norm.weight"] == pytest.approx(0.0)


def run_numbered(strategy: Any) -> list[Model]:
    """Return the model of a round in which arrays have numbers for names, as those of a list have."""
    start = {str(k): x for k, x in enumerate(START.values())}
    half = {"0": np.ones(4, np.float32), "1": np.full(1, 0.5, np.float32)}
    return play(strategy, start, [lambda _: dict.fromkeys((2, 3), reply_with_model(half, 1))] * 2)


def test_numbers_for_names_are_parameters_and_a_rule_that_must_know_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    made = run_numbered(strategies.FedAvgM(server_learning_rate=2.0))[0]
    assert made["1"] == 0.0
    assert [r.message.split(",")[0] for r in caplog.records if r.levelno == logging.WARNING] == [
        "FedAvgM treats parameters and buffers differently"
    ]


@pytest.mark.parametrize(
    "strategy",
    [strategies.FedAvg(), strategies.FedMedian(), strategies.FedAvgM(server_learning_rate=2.0, parameter_names=["0"])],
)
def test_a_rule_that_need_not_know_or_was_told_does_not_warn(strategy: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert run_numbered(strategy)[0]["1"] == 0.5
    assert [r.message for r in caplog.records if r.levelno == logging.WARNING] == []


TWO: Model = {"w": np.zeros(2, np.float32), "b": np.zeros(2, np.float32)}


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["module.w"], "1 of the 1 names are not in the model"),
        (["w", "bb"], "1 of the 2 names are not in the model, the first is 'bb'"),
        ([], "none of the 0 names is that of a floating-point tensor"),
    ],
)
def test_names_that_are_not_of_the_model_are_refused_before_anything_is_sent(names: Any, told: str) -> None:
    grid = FakeGrid({2: answer(1, 1), 3: answer(1, 1)})
    with pytest.raises(ExchangeError, match=rf"PARAMETER-NAMES.*{told}"):
        strategies.FedAdam(parameter_names=names).start(grid, to_array_record(TWO))
    assert grid.messages == []


def test_names_may_come_from_a_generator_and_a_text_is_refused() -> None:
    half = {name: x + np.float32(0.5) for name, x in TWO.items()}
    strategy = strategies.FedAvgM(server_learning_rate=2.0, parameter_names=(name for name in ["w"]))
    first, second = play(strategy, TWO, [lambda _: dict.fromkeys((2, 3), reply_with_model(half, 1))] * 2)
    assert (first["w"][0], first["b"][0], second["b"][0]) == (1.0, 0.5, 0.5)
    with pytest.raises(ValueError, match=r"parameter_names .* the text 'wb'"):
        strategies.FedAdam(parameter_names="wb")


def test_the_moving_sums_of_a_vector_quantiser_are_buffers() -> None:
    from monai.networks.layers.vector_quantizer import EMAQuantizer

    net = EMAQuantizer(spatial_dims=2, num_embeddings=4, embedding_dim=3)
    model = {name: array.numpy() for name, array in ArrayRecord(net.state_dict()).items()}
    assert find_buffers(model, None) == set(model) - read_parameter_names(net) != set()
