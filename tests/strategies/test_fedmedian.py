"""The coordinate-wise median: right by hand, and as Flower's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil
import pytest
from flwr.app import ArrayRecord, ConfigRecord, MessageType
from flwr.app import Message as FlowerMessage
from flwr.serverapp.strategy import FedMedian as FlowerFedMedian

from medfl.messages.records import to_array_record
from medfl.strategies.base.disk_strategy import DiskStrategy
from medfl.strategies.base.reply import Reply
from medfl.strategies.fedmedian import FedMedian
from medfl.testing.strategy_contract import ANY_NUMBER


def made_of(strategy: Any, values: list[dict[str, Any]], fake: Any, make: Any, weights: Any = None) -> dict[str, np.ndarray]:
    weights = weights or [1] * len(values)
    grid = fake({k + 2: make.trained(v, w) for k, (v, w) in enumerate(zip(values, weights, strict=True))})
    reference = to_array_record({name: np.zeros_like(x) for name, x in values[0].items()})
    messages = strategy.configure_train(1, reference, ConfigRecord(), grid)
    arrays, _ = strategy.aggregate_train(1, grid.send_and_receive(messages))
    return {name: array.numpy() for name, array in arrays.items()}


@pytest.mark.parametrize(
    ("sent", "expected"),
    [([5], 5), ([5, 8], 6.5), ([5, 100, 8], 8), ([5, 100, 8, 9], 8.5), ([-1e30, 5, 8, 9, 1e30], 8), ([4, 4, 4, 1, 9], 4)],
)
def test_by_hand_for_one_even_and_odd_and_ties(sent: list[float], expected: float, fake: Any, make: Any) -> None:
    values = [{"w": np.array([x, -x], np.float32), "n": np.array(int(abs(x)) % 100)} for x in sent]
    made = made_of(FedMedian(**ANY_NUMBER), values, fake, make, weights=[100] + [1] * (len(sent) - 1))
    assert made["w"].tolist() == [expected, -expected]
    assert made["n"] == max(v["n"] for v in values)
    assert made["w"].dtype == np.float32
    assert made["n"].dtype == np.int64


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_the_same_bits_as_flowers(n: int, dtype: Any, fake: Any, make: Any) -> None:
    rng = np.random.default_rng(n)
    values = [{"w": rng.standard_normal((40, 7)).astype(dtype), "b": np.array(rng.random(), dtype)} for _ in range(n)]
    ours = made_of(FedMedian(**ANY_NUMBER), values, fake, make)
    flower = FlowerFedMedian(min_train_nodes=n, min_available_nodes=n, fraction_evaluate=0)
    theirs = made_of(flower, values, fake, make)
    assert all(np.array_equal(ours[name], theirs[name]) for name in values[0])


def test_the_file_is_closed_when_a_round_is_interrupted(initial: ArrayRecord, fake: Any, make: Any) -> None:
    open_files: list[int] = []  # during each round

    class Watched(FedMedian):
        def add_reply(self, reply: Reply) -> None:
            super().add_reply(reply)
            open_files.append(psutil.Process().num_fds())

    def interrupted() -> Iterator[FlowerMessage]:
        yield make.trained(make.model(1), 2)(messages[0])
        raise KeyboardInterrupt

    strategy: DiskStrategy = Watched(**ANY_NUMBER)
    grid = fake({2: make.trained(make.model(1), 2)})
    messages = list(strategy.configure_train(1, initial, ConfigRecord(), grid))
    assert messages[0].metadata.message_type == MessageType.TRAIN
    before = psutil.Process().num_fds()
    with pytest.raises(KeyboardInterrupt):
        strategy.aggregate_train(1, interrupted())
    assert open_files == [before + 1]
    assert psutil.Process().num_fds() == before
    again = list(strategy.configure_train(2, initial, ConfigRecord(), grid))
    arrays, _ = strategy.aggregate_train(2, grid.send_and_receive(again))
    assert arrays is not None
    assert open_files == [before + 1] * 2
    assert psutil.Process().num_fds() == before
