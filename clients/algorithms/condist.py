"""ConDistFL at the hospital: what nobody annotated there is learnt from the received model."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.tasks.inference import forward
from medfl.clients.training.partial_labels import group_by_classes, unannotated_classes
from medfl.clients.training.task import StepHooks, TrainTask

_FIRST_SHARE = 0.01  # share of the weight in the first round: the received model knows nothing yet
_SMOOTH = 1e-5


class ConDistClient(ClientAlgorithm):
    """Conditional distillation (Wang et al. 2023, https://arxiv.org/abs/2308.04070, section 2.2).

    In images in which some structures were not looked for, the loss gets ``weight`` times the soft Dice loss between the
    received model and the one in training, both as probabilities of what is left given that a voxel is none of the annotated
    structures. Voxels that the mask or the received model give to an annotated structure do not count. As in the authors'
    code the weight grows linearly over the rounds from a hundredth to the whole. Each structure that was not looked for is a
    group of its own, where the paper may put an organ and its tumour into one. The study's own loss is the marginal one
    whatever the strategy; a site that annotates everything trains as in FedAvg, to the last bit.

    Parameters
    ----------
    weight : float
        The paper's lambda in the last round.
    temperature : float
        The paper's tau; below 1 it sharpens what the models say.
    """

    def __init__(self, weight: float = 1.0, temperature: float = 0.5) -> None:
        self._weight, self._temperature = weight, temperature

    def step_hooks(self, work: TrainTask) -> StepHooks:
        """Return the distillation, or nothing where everything was looked for."""
        weight = self._weight * ramp_weight(work.server_round, work.study.rounds)
        if not weight or not any(case.annotated for case in work.prepared.get_split("train")):
            return StepHooks()
        return DistillationHooks(work, weight, self._temperature)


class DistillationHooks(StepHooks):
    """The term of conditional distillation.

    Parameters
    ----------
    work : Work
        Its network holds the received model.
    weight, temperature : float
        Of the term.
    """

    def __init__(self, work: TrainTask, weight: float, temperature: float) -> None:
        self._received = copy.deepcopy(work.net).eval().requires_grad_(False)
        self._device, self._weight, self._temperature = work.require_device(), weight, temperature

    def compute_loss(self, net: nn.Module, images: Tensor, labels: Tensor, logits: Tensor, loss: Tensor) -> Tensor:
        """Return the loss and the term, the mean over the images of the batch."""
        for looked, items in group_by_classes(self.annotated):
            if looked:
                with torch.no_grad(), self._device.autocast():
                    taught = forward(self._received, images[items]).float()
                term = conditional_dice(logits[items], taught, labels[items], looked, self._temperature)
                loss = loss + self._weight * len(items) / len(images) * term
        return loss


def ramp_weight(server_round: int, rounds: int) -> float:
    """Return the share of the weight in a round.

    Examples
    --------
    >>> grown(1, 11), grown(11, 11), round(grown(6, 11), 3)
    (0.01, 1.0, 0.505)
    """
    return _FIRST_SHARE + (1 - _FIRST_SHARE) * (server_round - 1) / max(rounds - 1, 1)


def conditional_dice(logits: Tensor, taught: Tensor, labels: Tensor, looked: tuple[int, ...], temperature: float) -> Tensor:
    """Return the soft Dice loss of two models on what was not looked for.

    Parameters
    ----------
    logits, taught : Tensor
        (B, classes, ...), of the model in training and of the received one.
    labels : Tensor
        (B, ...).
    looked : tuple of int
        Classes that were looked for.
    temperature : float
        Divides the logits.
    """
    rest = unannotated_classes(looked, logits.shape[1])
    # the probability of a class given that it is one of the rest is the softmax over the rest alone
    ours, theirs = (torch.softmax(each[:, rest] / temperature, dim=1) for each in (logits, taught))
    known = torch.tensor(looked, device=labels.device)
    counts = ~(torch.isin(labels, known) | torch.isin(taught.argmax(1), known)).unsqueeze(1)
    axes = [0, *range(2, logits.ndim)]
    both = (ours * theirs * counts).sum(axes)
    either = ((ours + theirs) * counts).sum(axes)
    return 1 - ((2 * both + _SMOOTH) / (either + _SMOOTH)).mean()
