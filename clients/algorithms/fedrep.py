"""FedRep at the client: the head, which never leaves the site, is trained first, and then the body under that head."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.networks.arrays import get_arrays
from medfl.clients.networks.layer_kinds import find_layers
from medfl.clients.training.batches import count_steps
from medfl.clients.training.loop import train_steps, with_steps
from medfl.clients.training.task import TrainResult, TrainTask
from medfl.messages.records import TRAIN_LOSS, TRAIN_STEPS


class FedRepClient(ClientAlgorithm):
    """FedRep (Collins et al. 2021, https://arxiv.org/abs/2102.07078, Algorithm 1).

    All sites share a representation phi (the body of the network), and site i keeps a head h_i of its own. In a round it takes
    steps on F_i(h, phi_t) over h alone, starting from h_i, and then steps on F_i(h_i, phi) over phi alone, starting from the
    received phi_t. Only phi is exchanged.

    What differs from the paper: the paper gives the head many steps and the body one epoch or one step. Here both parts share
    the study's steps, so that a round costs what one of FedAvg costs; each part gets one step at least.

    Parameters
    ----------
    head_share : float
        Share of the steps that train the head.
    """

    def __init__(self, head_share: float = 0.5) -> None:
        self._share = head_share

    def train(self, task: TrainTask) -> TrainResult:
        """Train the head, then the body."""
        study, net = task.study, task.net
        steps = count_steps(study, len(task.prepared.get_split("train")))
        head_steps = min(max(round(self._share * steps), 1), max(steps - 1, 1))
        body_steps = max(steps - head_steps, 1)
        head = {id(p) for layer in find_layers(study, net, "head") for p in layer.parameters()}
        parts = [[p for p in net.parameters() if (id(p) in head) == is_head] for is_head in (True, False)]
        counts = (head_steps, body_steps)
        losses = [_train_part(task, part, n, phase) for phase, (part, n) in enumerate(zip(parts, counts, strict=True))]
        loss = (head_steps * losses[0] + body_steps * losses[1]) / (head_steps + body_steps)
        return TrainResult(get_arrays(net), {TRAIN_LOSS: loss, TRAIN_STEPS: head_steps + body_steps})


def _train_part(task: TrainTask, part: Collection[nn.Parameter], steps: int, phase: int) -> float:
    """Take steps that change these parameters alone; the others need no gradient meanwhile."""
    chosen = {id(parameter) for parameter in part}
    fixed = [p for p in task.net.parameters() if id(p) not in chosen and p.requires_grad]
    for parameter in fixed:
        parameter.requires_grad_(False)
    try:
        return train_steps(task, task.net, study=with_steps(task.study, steps), parameters=part, phase=phase)
    finally:
        for parameter in fixed:
            parameter.requires_grad_(True)
