"""Images in which only some structures were looked for: what nobody looked for is unknown, and no background."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

AnnotatedClasses = Sequence[
    tuple[int, ...]
]  # of each image of a batch, the classes that were looked for; an empty tuple: all of them


class MarginalLoss:
    """A loss over what was looked for (marginal loss: Shi et al. 2021, https://arxiv.org/abs/2007.03868, section 3.2).

    The background of an image in which nobody looked for some structures is "none of those that were looked for". Its
    probability is the sum of that of the background and of the other structures, and any loss can be taken of what is left.
    The paper's exclusion loss is not added: structures exclude each other by the softmax here.

    A batch of images with different sets is cut into groups of one set, and their losses are averaged by images. Without such
    images the loss is the plain one, to the last bit.

    Parameters
    ----------
    build : callable
        Makes the plain loss over some of the classes, given their indices; the first is that of the background.
    classes : int
        All classes, with the background.
    """

    def __init__(self, build: Callable[[list[int]], Callable[[Tensor, Tensor], Tensor]], classes: int) -> None:
        self._build = build
        self._losses: dict[tuple[int, ...], Callable[[Tensor, Tensor], Tensor]] = {(): build(list(range(classes)))}

    def __call__(self, logits: Tensor, labels: Tensor, annotated: AnnotatedClasses = ()) -> Tensor:
        """Return the loss of a batch, a scalar.

        Parameters
        ----------
        logits : Tensor
            (B, classes, ...), float32.
        labels : Tensor
            (B, ...) of any integer dtype.
        annotated : sequence of tuple of int
            Classes that were looked for in each image; without it, all in all.
        """
        total = logits.new_zeros(())
        for looked, items in group_by_classes(annotated):
            if len(items) == len(logits):
                return self._set_loss(looked, logits, labels)
            total = total + self._set_loss(looked, logits[items], labels[items]) * (len(items) / len(logits))
        return total if annotated else self._set_loss((), logits, labels)

    def _set_loss(self, looked: tuple[int, ...], logits: Tensor, labels: Tensor) -> Tensor:
        if looked not in self._losses:
            self._losses[looked] = self._build([0, *looked])
        loss = self._losses[looked]
        return loss(merge_logits(logits, looked), merge_labels(labels, looked)) if looked else loss(logits, labels)


def group_by_classes(annotated: AnnotatedClasses) -> Iterator[tuple[tuple[int, ...], list[int]]]:
    """Yield each set of classes of a batch with the positions of its images, sets in the order in which they come."""
    for looked in dict.fromkeys(annotated):
        yield looked, [position for position, other in enumerate(annotated) if other == looked]


def unannotated_classes(looked: Sequence[int], classes: int) -> list[int]:
    """Return the classes that make up the merged background: the background, and what nobody looked for."""
    return [value for value in range(classes) if value not in looked]


def merge_logits(logits: Tensor, looked: Sequence[int]) -> Tensor:
    """Return logits (B, 1 + looked, ...) whose softmax is the marginal probability of the merged background and of the rest."""
    background = torch.logsumexp(logits[:, unannotated_classes(looked, logits.shape[1])], dim=1, keepdim=True)
    return torch.cat([background, logits[:, list(looked)]], dim=1)


def merge_labels(labels: Tensor, looked: Sequence[int]) -> Tensor:
    """Return labels in which the k-th class that was looked for is k, from 1, and all others are 0."""
    merged = torch.zeros_like(labels)
    for position, value in enumerate(looked, start=1):
        merged.masked_fill_(labels == value, position)
    return merged
