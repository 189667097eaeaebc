"""A federation whose every number is known: each site has a bowl, ``1/2 (w - b)' A (w - b)``, and walks down it in real steps.

The strategies and client halves are the real ones; only the loop `fit` is put in place by one without images, which asks the
terms of an algorithm in the same order.
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
from medfl.clients.training import schedules
from medfl.clients.training.client_state import ClientState
from medfl.clients.training.optimizers import build_optimizer, set_factor
from medfl.clients.training.task import StepHooks, TrainTask
from medfl.messages import records
from medfl.messages.records import build_reply_content, from_array_record, to_array_record
from medfl.schema import read_section
from medfl.site import Site
from medfl.strategies.fedavg import FedAvg
from medfl.study import Study

Vector = NDArray[np.float64]
SIZE, STEPS, RATE = 3, 5, 0.1
NAMES = ("aachen", "bergen", "cadiz", "delft")
WEIGHTS = dict(zip(NAMES, (10, 40, 20, 30), strict=True))  # patients


class Bowl(nn.Module):
    """The loss of one site as a function of its only parameter."""

    def __init__(self, curvature: Vector, bottom: Vector) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(SIZE, dtype=torch.float64))
        self.curvature, self.bottom = torch.from_numpy(curvature), torch.from_numpy(bottom)

    def forward(self) -> torch.Tensor:
        away = self.w - self.bottom
        return 0.5 * away @ self.curvature @ away


def bowls() -> dict[str, Bowl]:
    """Return four sites that agree neither on the bottom nor on the curvature, whose eigenvalues are from 0.5 to 3."""
    rng = np.random.default_rng(4)
    made = {}
    for k, name in enumerate(NAMES):
        turn = np.linalg.qr(rng.standard_normal((SIZE, SIZE)))[0]
        made[name] = Bowl(turn @ np.diag(np.roll([0.5, 1.0, 3.0], k)) @ turn.T, 3.0 * rng.standard_normal(SIZE))
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
            "task": {"kind": "segmentation", "dimension": 2, "modality": "MR", "classes": "no,yes"},
            "network": {"name": "unet"},
            "loss": {"name": "dice-ce"},
            "optimizer": {"name": "sgd", "learning-rate": RATE, "momentum": momentum},
            "schedule": {"name": schedule},
            "training": {"local-steps": STEPS},
        },
        "pyproject.toml",
    )


def fit(work: TrainTask, net: nn.Module, terms: StepHooks | None = None) -> float:
    """Take the steps of a round on a bowl."""
    terms, settings, nothing = terms or StepHooks(), work.study.optimizer, torch.zeros(1)
    optimizer, total = build_optimizer(settings, net.parameters()), 0.0
    for step in range(STEPS):
        progress = schedules.study_progress(work.server_round, step, STEPS, work.study.rounds)
        factor = schedules.lr_factor(work.study.schedule, progress, work.study.rounds)
        set_factor(optimizer, settings, factor)
        optimizer.zero_grad(set_to_none=True)
        loss = net()
        terms.compute_loss(net, nothing, nothing, nothing, loss).backward()  # type: ignore[no-untyped-call]
        terms.adjust_gradients(net)
        optimizer.step()
        terms.after_step(net, settings.learning_rate * factor)
        total += float(loss.detach())
    return total / STEPS


class Federation:
    """The sites behind a grid.

    Parameters
    ----------
    half : ClientAlgorithm
        Client half that all sites run.
    folder : Path
        Where they remember.
    of : Study
        Gives optimizer and schedule.
    """

    def __init__(self, half: ClientAlgorithm, folder: Path, of: Study) -> None:
        self._half, self._folder, self._study = half, folder, of
        self._bowls = bowls()
        self.nodes = dict(enumerate(NAMES, start=11))
        self.lost: set[tuple[str, int]] = set()  # replies that the site made and the server never gets
        self.received: dict[str, list[Vector]] = {name: [] for name in NAMES}

    def answers(self) -> dict[int, Callable[[Message], Message | None]]:
        return {node: lambda message, name=name: self._answer(name, message) for node, name in self.nodes.items()}

    def _answer(self, name: str, message: Message) -> Message | None:
        tensors = {key: from_array_record(found) for key, found in message.content.array_records.items()}
        received = tensors.pop(records.ARRAYS)
        number = int(message.content.config_records[records.CONFIG][records.ROUND])
        net = self._bowls[name]
        load_arrays(net, received)
        nobody: Any = None
        state = ClientState(self._folder / name, number)
        task = TrainTask(self._study, Site(name=name), nobody, net, received, number, 0, state, tensors)
        update = self._half.train(task)
        if (name, number) in self.lost:
            return None
        metrics = {"train.patients": WEIGHTS[name], **update.metrics}
        content = build_reply_content(name, metrics, update.arrays, further=update.records)
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
