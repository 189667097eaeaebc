"""Rounds of a strategy, ours or Flower's, with invented replies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord

from medfl.messages.records import to_array_record
from medfl.testing.fake_grid import Answer, FakeGrid

Model = dict[str, np.ndarray]
Answers = dict[int, Answer]


def play(strategy: Any, start: Model, rounds: Sequence[Callable[[Model], Answers]], first: int = 1) -> list[Model]:
    """Return the model after each round; a round makes the answers of the nodes from the model that is sent."""
    model, seen = start, []
    for server_round, answers in enumerate(rounds, start=first):
        grid = FakeGrid(answers(model))
        sent = to_array_record(model)
        messages = list(strategy.configure_train(server_round, sent, ConfigRecord(), grid))
        arrays, _ = strategy.aggregate_train(server_round, list(grid.send_and_receive(messages)))
        model = read(arrays)
        seen.append(model)
    return seen


def read(arrays: ArrayRecord | None) -> Model:
    """Return the tensors of a record."""
    assert arrays is not None
    return {name: array.numpy() for name, array in arrays.items()}


def moved(model: Model, by: float) -> Model:
    """Return a model whose floats are moved."""
    return {name: x + np.float32(by) if x.dtype.kind == "f" else x for name, x in model.items()}


def start() -> Model:
    """Return a first model: a matrix, a number, a counter."""
    rng = np.random.default_rng(3)
    return {"w": rng.standard_normal((2, 3), np.float32), "b": np.array(0.5, np.float32)}
