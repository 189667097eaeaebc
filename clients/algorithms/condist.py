"""ConDistFL at the client: the received model teaches the structures that are not annotated at the site."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.training.forward import forward
from medfl.clients.training.partial_labels import group_by_classes, unannotated_classes
from medfl.clients.training.task import StepHooks, TrainTask

_FIRST_SHARE = 0.01  # share of the weight in the first round, when the received model knows nothing yet
_SMOOTH = 1e-5


class ConDistClient(ClientAlgorithm):
    """ConDistFL, conditional distillation (Wang et al. 2023, https://arxiv.org/abs/2308.04070, section 2.2).

    Site k annotates the classes F_k alone; its masks do not tell the other structures from the background. With the softmax
    outputs p of the network in training and q of the received model, both at temperature tau, the loss is

        L_marginal + lambda * soft-Dice-loss(p(c | c not in F_k), q(c | c not in F_k)),    c not in F_k,

    over the voxels that neither the mask nor the received model assign to a class of F_k. L_marginal is the study's loss over
    the annotated classes (`medfl.clients.training.partial_labels.MarginalLoss`), as it is with every strategy.

    What differs from the paper: each class outside F_k is a group of its own, where the paper may merge an organ and its tumour
    into one group. As in the authors' code, lambda grows linearly over the rounds, here from a hundredth to all of it.
    A site that annotates everything trains as in FedAvg, to the last bit.

    Parameters
    ----------
    weight : float
        The paper's lambda, in the last round.
    temperature : float
        The paper's tau; below 1 it sharpens the outputs.
    """

    def __init__(self, weight: float = 1.0, temperature: float = 0.5) -> None:
        self._weight, self._temperature = weight, temperature

    def step_hooks(self, task: TrainTask) -> StepHooks:
        """Return the distillation term, or nothing where all classes are annotated."""
        weight = self._weight * ramp_weight(task.server_round, task.study.rounds)
        if not weight or not any(case.annotated for case in task.prepared.get_split("train")):
            return StepHooks()
        return DistillationHooks(task, weight, self._temperature)


class DistillationHooks(StepHooks):
    """The conditional distillation term of the loss.

    Parameters
    ----------
    task : TrainTask
        Its network holds the received model.
    weight, temperature : float
        Lambda in this round, and tau.
    """

    def __init__(self, task: TrainTask, weight: float, temperature: float) -> None:
        self._received = copy.deepcopy(task.net).eval().requires_grad_(False)
        self._device, self._weight, self._temperature = task.device, weight, temperature

    def compute_loss(self, net: nn.Module, images: Tensor, labels: Tensor, logits: Tensor, loss: Tensor) -> Tensor:
        """Return the loss plus the term, the latter as the mean over the images of the batch."""
        for annotated, items in group_by_classes(self.annotated):
            if annotated:
                with torch.no_grad(), self._device.autocast():
                    teacher = forward(self._received, images[items]).float()
                term = conditional_dice(logits[items], teacher, labels[items], annotated, self._temperature)
                loss = loss + self._weight * len(items) / len(images) * term
        return loss


def ramp_weight(server_round: int, rounds: int) -> float:
    """Return the share of the weight in a round.

    Examples
    --------
    >>> ramp_weight(1, 11), ramp_weight(11, 11), round(ramp_weight(6, 11), 3)
    (0.01, 1.0, 0.505)
    """
    return _FIRST_SHARE + (1 - _FIRST_SHARE) * (server_round - 1) / max(rounds - 1, 1)


def conditional_dice(logits: Tensor, teacher: Tensor, labels: Tensor, annotated: tuple[int, ...], temperature: float) -> Tensor:
    """Return the soft Dice loss between two models on the classes that are not annotated.

    Parameters
    ----------
    logits, teacher : Tensor
        (B, classes, ...), of the network in training and of the received model.
    labels : Tensor
        (B, ...).
    annotated : tuple of int
        Annotated classes.
    temperature : float
        Divides the logits.
    """
    rest = unannotated_classes(annotated, logits.shape[1])
    # the probability of a class given that it is one of the rest is the softmax over the rest alone
    p, q = (torch.softmax(each[:, rest] / temperature, dim=1) for each in (logits, teacher))
    known = torch.tensor(annotated, device=labels.device)
    counts = ~(torch.isin(labels, known) | torch.isin(teacher.argmax(1), known)).unsqueeze(1)
    axes = [0, *range(2, logits.ndim)]
    overlap = (p * q * counts).sum(axes)
    total = ((p + q) * counts).sum(axes)
    return 1 - ((2 * overlap + _SMOOTH) / (total + _SMOOTH)).mean()
