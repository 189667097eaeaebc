"""FedRep at the hospital: the head, which never leaves, is trained on the received body, and then the body on that head."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.networks.arrays import get_arrays
from medfl.clients.networks.layers import find_layers
from medfl.clients.training.batches import count_steps
from medfl.clients.training.loop import train_steps, with_steps
from medfl.clients.training.task import TrainResult, TrainTask
from medfl.messages.records import TRAIN_LOSS, TRAIN_STEPS


class FedRepClient(ClientAlgorithm):
    """FedRep (Collins et al. 2021, https://arxiv.org/abs/2102.07078, Algorithm 1): first the head, then the body.

    The paper gives the head many steps and the body one epoch; here both share the study's steps, each gets one at least.

    Parameters
    ----------
    head_share : float
        Share of the steps that train the head.
    """

    def __init__(self, head_share: float = 0.5) -> None:
        self._share = head_share

    def train(self, work: TrainTask) -> TrainResult:
        """Train the one with the other at rest."""
        study, net = work.study, work.net
        steps = count_steps(study, len(work.prepared.get_split("train")))
        for_head = min(max(round(self._share * steps), 1), max(steps - 1, 1))
        for_body = max(steps - for_head, 1)
        head = {id(p) for layer in find_layers(study, net, "head") for p in layer.parameters()}
        parts = [[p for p in net.parameters() if (id(p) in head) == wanted] for wanted in (True, False)]
        losses = [
            _train_part(work, part, n, phase) for phase, (part, n) in enumerate(zip(parts, (for_head, for_body), strict=True))
        ]
        loss = (for_head * losses[0] + for_body * losses[1]) / (for_head + for_body)
        return TrainResult(get_arrays(net), {TRAIN_LOSS: loss, TRAIN_STEPS: for_head + for_body})


def _train_part(work: TrainTask, part: Collection[nn.Parameter], steps: int, phase: int) -> float:
    """Take steps that change some parameters; the others need no gradient meanwhile."""
    chosen = {id(parameter) for parameter in part}
    resting = [p for p in work.net.parameters() if id(p) not in chosen and p.requires_grad]
    for parameter in resting:
        parameter.requires_grad_(False)
    try:
        return train_steps(work, work.net, study=with_steps(work.study, steps), parameters=part, phase=phase)
    finally:
        for parameter in resting:
            parameter.requires_grad_(True)
