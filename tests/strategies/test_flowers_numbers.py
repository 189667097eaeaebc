"""What the unit tests of Flower's own strategies assert, asserted of ours: their numbers, with tests of our own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from medfl import strategies
from medfl.errors import QuorumError
from medfl.messages.records import to_array_record
from medfl.strategies import FedAvg, FedAvgM, FedMedian, FedTrimmedAvg, Krum, MultiKrum, QFedAvg
from medfl.testing import FakeGrid
from medfl.testing.fake_grid import Answer, reply_with_content
from medfl.testing.strategy_contract import ANY_NUMBER

Sent = tuple[Sequence[Any], float]  # what a node sends: the tensors of its model, and its number of examples


def named(tensors: Sequence[Any]) -> dict[str, NDArray[Any]]:
    """Return tensors under the names that Flower gives to a list of them."""
    return {str(k): np.asarray(tensor) for k, tensor in enumerate(tensors)}


def answer(tensors: Sequence[Any], examples: float, **metrics: Any) -> Answer:
    """Answer with a model and its number of examples."""
    records = {"arrays": to_array_record(named(tensors)), "metrics": MetricRecord({"num-examples": examples, **metrics})}
    return reply_with_content(RecordDict(records))


def aggregate(
    strategy: FedAvg, answers: Sequence[Answer], start: Sequence[Any], server_round: int = 1
) -> tuple[list[NDArray[Any]], dict[str, Any]]:
    """Return the model that a strategy makes of the answers, and the metrics."""
    grid = FakeGrid(dict(enumerate(answers, start=2)))
    messages = strategy.configure_train(server_round, to_array_record(named(start)), ConfigRecord(), grid)
    arrays, metrics = strategy.aggregate_train(server_round, grid.send_and_receive(messages))
    assert arrays is not None
    return [array.numpy() for array in arrays.values()], dict(metrics or {})


def model_of(strategy: FedAvg, sent: Sequence[Sent], start: Sequence[Any] | None = None) -> list[NDArray[Any]]:
    """Return the model that a strategy makes of what the nodes send."""
    zeros = [np.zeros_like(np.asarray(tensor)) for tensor in sent[0][0]]
    return aggregate(strategy, [answer(*each) for each in sent], zeros if start is None else start)[0]


TWO_CLIENTS: list[Sent] = [
    ([np.array([[1, 2, 3], [4, 5, 6]], np.float32), np.array([7, 8, 9, 10], np.float32)], 1),
    ([np.array([[29, 23, 19], [17, 13, 11]], np.float32), np.array([7, 5, 3, 2], np.float32)], 2),
]
THEIR_MEAN = [(one + 2 * two) / 3 for one, two in zip(TWO_CLIENTS[0][0], TWO_CLIENTS[1][0], strict=True)]


def test_fedavgm_with_a_learning_rate_near_one_is_the_mean() -> None:
    made = model_of(FedAvgM(server_learning_rate=1.0 + 1e-9), TWO_CLIENTS)
    for tensor, expected in zip(made, THEIR_MEAN, strict=True):
        np.testing.assert_almost_equal(tensor, expected, decimal=5)


def test_fedavgm_with_momentum_near_zero_is_the_mean_in_the_second_round_too() -> None:
    strategy = FedAvgM(server_learning_rate=1.0 + 1e-9, server_momentum=1e-9)
    first = model_of(strategy, TWO_CLIENTS)
    second = model_of(strategy, TWO_CLIENTS, first)
    for tensor, expected in zip(second, THEIR_MEAN, strict=True):
        np.testing.assert_almost_equal(tensor, expected, decimal=5)


def test_fedavgm_of_a_model_of_one_number() -> None:
    (made,) = model_of(FedAvgM(server_learning_rate=1.0 + 1e-9), [([np.array(1.0)], 1), ([np.array(3.0)], 2)])
    assert made.shape == ()
    np.testing.assert_allclose(made, 7.0 / 3.0, rtol=1e-6)


def test_fedmedian_of_three() -> None:
    sent: list[Sent] = [([[1.0, 0.2, 0.5, 1.0]], 5), ([[0.2, 0.5, 1.0, 0.2]], 2), ([[0.5, 1.0, 0.2, 0.5]], 9)]
    np.testing.assert_equal(model_of(FedMedian(), sent), [[0.5, 0.5, 0.5, 0.5]])


def test_fedtrimmedavg_of_four() -> None:
    sent: list[Sent] = [
        ([[0.5, 0.5, 0.5, 0.5]], 1),
        ([[1.0, 0.2, 0.5, 1.0]], 5),
        ([[0.2, 0.5, 1.0, 0.2]], 2),
        ([[0.5, 1.0, 0.2, 0.5]], 9),
    ]
    np.testing.assert_equal(model_of(FedTrimmedAvg(beta=0.25), sent), [[0.5, 0.5, 0.5, 0.5]])


def test_fedtrimmedavg_of_single_numbers() -> None:
    (made,) = model_of(FedTrimmedAvg(beta=0.25), [([np.array(x)], 1) for x in (0.5, 1.0, 2.0, 100.0)])
    assert made.shape == ()
    assert made == 1.5


def test_krum_selects_the_middle_of_three_where_none_is_malicious() -> None:
    sent: list[Sent] = [([[x] * 4], 5) for x in (0.2, 0.7, 1.0)]
    np.testing.assert_equal(model_of(Krum(), sent), [[0.7] * 4])
    with pytest.raises(QuorumError, match="KRUM-TOO-FEW"):  # Flower's test has one malicious among three, and gets the same
        model_of(Krum(num_malicious_nodes=1), sent)


def test_multikrum_averages_the_two_that_are_close() -> None:
    sent: list[Sent] = [([[x] * 4], 5) for x in (0.2, 0.5, 1.0)]
    np.testing.assert_equal(model_of(MultiKrum(num_nodes_to_select=2), sent), [[0.35] * 4])
    with pytest.raises(QuorumError, match="KRUM-TOO-FEW"):
        model_of(MultiKrum(num_malicious_nodes=1, num_nodes_to_select=2), sent)


def test_multikrum_discards_outliers_when_the_models_dwarf_their_spread() -> None:
    rng = np.random.default_rng(0)
    common = rng.normal(0, 10, size=1000)
    sent: list[Sent] = [
        ([(common + rng.normal(0, spread, size=1000)).astype(np.float32)], 5) for spread in [1e-4] * 7 + [3e-4] * 3
    ]
    strategy = MultiKrum(num_malicious_nodes=3, num_nodes_to_select=5)
    model_of(strategy, sent)
    assert set(strategy.selected_sites) < {f"node-{2 + k}" for k in range(7)}


@pytest.mark.parametrize("name", ["FedAdagrad", "FedAdam", "FedYogi"])
@pytest.mark.parametrize(("tensors", "shape"), [(4, (7, 3)), (5, (7, 3)), (4, (7, 5))])
def test_an_optimizer_makes_no_step_to_a_model_of_other_tensors(name: str, tensors: int, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    start = [rng.standard_normal((7, 3)) for _ in range(4)]
    sent: list[Sent] = [([rng.standard_normal(shape) for _ in range(tensors)], 1)] * 2
    strategy = getattr(strategies, name)()
    if (tensors, shape) == (4, (7, 3)):
        assert [tensor.shape for tensor in model_of(strategy, sent, start)] == [(7, 3)] * 4
    else:
        with pytest.raises(QuorumError, match="MODEL-MISMATCH"):  # Flower's raises AggregationError
            model_of(strategy, sent, start)


@pytest.mark.parametrize("shape", [(7, 3), ()])
def test_fedavg_is_numpys_average(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(2)
    weights, models = (0.25, 0.4, 0.35), [[rng.standard_normal(shape) for _ in range(4)] for _ in range(3)]
    expected = [np.average([model[k] for model in models], axis=0, weights=weights) for k in range(4)]
    for strategy, tolerance in ((FedAvg(), 2.0**-28), (FedAvg(mean="float"), 1e-15)):
        made = model_of(strategy, list(zip(models, weights, strict=True)))
        for tensor, mean in zip(made, expected, strict=True):
            np.testing.assert_allclose(tensor, mean, rtol=0, atol=tolerance)
            assert (tensor.shape, tensor.dtype) == (shape, np.float64)


def test_metrics_are_numpys_average_lists_too() -> None:
    weights, lists = (0.25, 0.4, 0.35), np.random.default_rng(3).standard_normal((3, 3))
    answers = [answer([1.0], w, a=1, b=2.0, c=c.tolist()) for w, c in zip(weights, lists, strict=True)]
    _, metrics = aggregate(FedAvg(), answers, [0.0])
    assert metrics.keys() == {"a", "b", "c"}
    assert (metrics["a"], metrics["b"]) == (pytest.approx(1.0), pytest.approx(2.0))
    np.testing.assert_allclose(metrics["c"], np.average(lists, axis=0, weights=weights))


ARRAYS, WEIGHT = to_array_record({"0": np.ones((7, 3))}), MetricRecord({"num-examples": 0.123})
INCONSISTENT = {
    "the weight is a list": ({"m": ARRAYS, "n": MetricRecord({"num-examples": [0.123]})}, "WEIGHT-MISSING"),
    "no weight": ({"m": ARRAYS, "n": MetricRecord({"loss": 0.01})}, "WEIGHT-MISSING"),
    "no metrics": ({"m": ARRAYS}, "METRICS-MISSING"),
    "two models": ({"m": ARRAYS, "o": ARRAYS, "n": WEIGHT}, "ARRAYS-MISSING"),
    "two metrics": ({"m": ARRAYS, "n": WEIGHT, "p": MetricRecord({"loss": 0.321})}, "METRICS-MISSING"),
    "other tensors": ({"m": to_array_record({"b": np.ones((7, 3))}), "n": WEIGHT}, "MODEL-MISMATCH"),
}


@pytest.mark.parametrize(("records", "code"), INCONSISTENT.values(), ids=INCONSISTENT)
def test_a_reply_that_is_not_as_it_should_be_does_not_count(records: dict[str, Any], code: str) -> None:
    good, bad = (reply_with_content(RecordDict(each)) for each in ({"global-model": ARRAYS, "metrics": WEIGHT}, records))
    strategy = FedAvg(min_train_nodes=3)
    (made,), _ = aggregate(strategy, [good, bad, good], [np.zeros((7, 3))])  # Flower's raises InconsistentMessageReplies
    np.testing.assert_allclose(made, np.ones((7, 3)))
    assert [reply.reason.partition("]")[0] for reply in strategy.last_round.replies] == ["", f"[{code}", ""]


def test_the_records_of_replies_may_have_other_names() -> None:
    metrics = [MetricRecord({"num-examples": 1, f"loss-{k}": 1}) for k in range(2)]
    answers = [reply_with_content(RecordDict({f"model-{k}": ARRAYS, f"metrics-{k}": metrics[k]})) for k in range(2)]
    (made,), averaged = aggregate(FedAvg(), answers, [np.zeros((7, 3))])
    np.testing.assert_array_equal(made, np.ones((7, 3)))
    assert averaged == {}


def test_qfedavg_by_flowers_formula() -> None:
    # its class has no unit test in Flower; this is the sum of its compute_delta_and_h, by hand
    rate, q, losses = 0.1, 2.0, (0.5, 2.0)
    start, models = np.array([1.0, -1.0]), (np.array([0.8, -1.1]), np.array([1.3, -0.5]))
    answers = [answer([model], 1, train_loss=loss) for model, loss in zip(models, losses, strict=True)]
    (made,), _ = aggregate(QFedAvg(client_learning_rate=rate, q=q), answers, [start])
    gradients = [(start - model) / rate for model in models]
    step = sum(loss**q * gradient for loss, gradient in zip(losses, gradients, strict=True))
    size = sum(q * loss ** (q - 1) * g @ g + loss**q / rate for loss, g in zip(losses, gradients, strict=True))
    np.testing.assert_allclose(made, start - step / size, rtol=1e-9)


def test_one_reply_is_its_own_mean() -> None:
    initial: ArrayRecord = to_array_record({"0": np.zeros(3)})
    grid = FakeGrid({2: answer([np.arange(3.0)], 4)})
    result = FedAvg(**ANY_NUMBER, fraction_evaluate=0.0).start(grid, initial, num_rounds=1)
    assert result.arrays["0"].numpy().tolist() == [0.0, 1.0, 2.0]
