"""A federation whose every number is known: each site has a bowl, ``1/2 (w - b)' A (w - b)``, and descends it in real steps.

Strategies, client algorithms and the training loop are the real ones; the network alone is made up, so that the gradient of the
study's loss is that of the bowl.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message
from numpy.typing import NDArray
from torch import nn

from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.networks.arrays import get_arrays, load_arrays
from medfl.clients.training.client_state import ClientState
from medfl.clients.training.task import TrainTask
from medfl.messages import records
from medfl.messages.records import build_reply_content, from_array_record, to_array_record
from medfl.schema import read_section
from medfl.site import Resources, Site
from medfl.strategies.fedavg import FedAvg
from medfl.study import Study
from medfl.testing.sites import make_class_case, make_prepared

Vector = NDArray[np.float64]
SIZE, STEPS, RATE = 3, 5, 0.2
NAMES = ("aachen", "bergen", "cadiz", "delft")
WEIGHTS = dict(zip(NAMES, (10, 40, 20, 30), strict=True))  # patients


class Bowl(nn.Module):
    """A classifier of images whose cross-entropy with class 0 has the gradient of a bowl, exactly.

    Both logits are 0 whatever the image, so the softmax of each is 1/2, and the gradient of the cross-entropy is half that of
    the second logit: twice the bowl's.
    """

    def __init__(self, curvature: Vector, bottom: Vector) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(SIZE, dtype=torch.float64))
        self.curvature, self.bottom = torch.from_numpy(curvature), torch.from_numpy(bottom)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        away = self.w - self.bottom
        bowl = 0.5 * away @ self.curvature @ away
        zero = bowl - bowl.detach()
        return torch.stack([torch.zeros_like(zero), 2.0 * zero]).expand(len(images), 2)


def bowls() -> dict[str, Bowl]:
    """Return four sites that agree neither on the bottom nor on the curvature, whose eigenvalues are from 1 to 3."""
    rng = np.random.default_rng(4)
    made = {}
    for k, name in enumerate(NAMES):
        turn = np.linalg.qr(rng.standard_normal((SIZE, SIZE)))[0]
        made[name] = Bowl(turn @ np.diag(np.roll([1.0, 2.0, 3.0], k)) @ turn.T, 3.0 * rng.standard_normal(SIZE))
    return made


def share(weights: Mapping[str, float]) -> dict[str, float]:
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


def optimum(weights: Mapping[str, float]) -> Vector:
    """Return where the weighted mean of the losses is least."""
    parts = [(p, bowl.curvature.numpy(), bowl.bottom.numpy()) for (_, p), bowl in zip(*_both(weights), strict=True)]
    return np.linalg.solve(sum(p * a for p, a, _ in parts), sum(p * a @ b for p, a, b in parts))


def averaging_ends(weights: Mapping[str, float], mu: float = 0.0) -> Vector:
    """Return the fixed point of FedProx, with mu = 0 of FedAvg, of `STEPS` steps of gradient descent at each site.

    From x, a site with A and b goes down on a bowl of curvature A + mu whose bottom is b + (A + mu)^-1 mu (x - b), and comes
    to x - Q (x - b), Q = (1 - (1 - RATE (A + mu))^STEPS) (A + mu)^-1 A. So x stays where the mean of Q (x - b) is zero.
    """
    one = np.eye(SIZE)
    parts = []
    for (_, p), bowl in zip(*_both(weights), strict=True):
        a = bowl.curvature.numpy()
        stiff = a + mu * one
        q = (one - np.linalg.matrix_power(one - RATE * stiff, STEPS)) @ np.linalg.solve(stiff, a)
        parts.append((p * q, bowl.bottom.numpy()))
    return np.linalg.solve(sum(q for q, _ in parts), sum(q @ b for q, b in parts))


def _both(weights: Mapping[str, float]) -> tuple[list[tuple[str, float]], list[Bowl]]:
    return list(share(weights).items()), [bowls()[name] for name in weights]


def study(rounds: int = 300, momentum: float = 0.0, schedule: str = "constant") -> Study:
    """Return a study of `STEPS` steps of SGD."""
    return read_section(
        Study,
        {
            "name": "bowl",
            "rounds": rounds,
            "task": {"kind": "classification", "dimension": 2, "modality": "MR", "classes": "no,yes"},
            "network": {"name": "cnn"},
            "loss": {"name": "cross-entropy"},
            "preprocessing": {"size": "16,16"},
            "optimizer": {"name": "sgd", "learning-rate": RATE, "momentum": momentum},
            "schedule": {"name": schedule},
            "training": {"local-steps": STEPS, "batch-size": 1},
        },
        "pyproject.toml",
    )


class Federation:
    """The sites behind a grid.

    Parameters
    ----------
    algorithm : ClientAlgorithm
        What all sites run.
    folder : Path
        Folder of their states.
    of : Study
        Gives optimizer and schedule.
    """

    def __init__(self, algorithm: ClientAlgorithm, folder: Path, of: Study) -> None:
        self._algorithm, self._folder, self._study = algorithm, folder, of
        self._data = make_prepared(make_class_case(0, 0))
        self._bowls = bowls()
        self.nodes = dict(enumerate(NAMES, start=11))
        self.lost: set[tuple[str, int]] = set()  # replies of sites that never reach the server
        self.received: dict[str, list[Vector]] = {name: [] for name in NAMES}

    def answers(self) -> dict[int, Callable[[Message], Message | None]]:
        return {node: lambda message, name=name: self._answer(name, message) for node, name in self.nodes.items()}

    def _answer(self, name: str, message: Message) -> Message | None:
        tensors = {key: from_array_record(found) for key, found in message.content.array_records.items()}
        received = tensors.pop(records.ARRAYS)
        number = int(message.content.config_records[records.CONFIG][records.ROUND])
        net, state = self._bowls[name], ClientState(self._folder / name, number)
        load_arrays(net, received)
        site = Site(name=name, resources=Resources(device="cpu"))
        task = TrainTask(self._study, site, self._data, net, received, number, 0, state, tensors)
        outcome = self._algorithm.train(task)
        if (name, number) in self.lost:
            return None
        metrics = {**outcome.metrics, "train.patients": WEIGHTS[name]}
        content = build_reply_content(name, metrics, outcome.arrays, extra=outcome.records)
        return Message(content, reply_to=message)


def start() -> ArrayRecord:
    """Return the model that every run begins with."""
    net = Bowl(np.eye(SIZE), np.zeros(SIZE))
    with torch.no_grad():
        net.w.fill_(1.0)
    return to_array_record(get_arrays(net))


def play(strategy: FedAvg, grid: Any, arrays: ArrayRecord, rounds: range) -> ArrayRecord:
    """Run rounds, and return the model."""
    for number in rounds:
        messages = strategy.configure_train(number, arrays, ConfigRecord(), grid)
        made, _ = strategy.aggregate_train(number, grid.send_and_receive(messages, timeout=0.0))
        assert made is not None
        arrays = made
    return arrays
