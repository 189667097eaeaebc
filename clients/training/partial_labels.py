"""Partial annotations: a structure that nobody annotated in an image is unknown there, not background."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

# annotated classes of each image of a batch; an empty tuple: all of them
AnnotatedClasses = Sequence[tuple[int, ...]]


class MarginalLoss:
    """Marginal loss (Shi et al. 2021, https://arxiv.org/abs/2007.03868, section 3.2): a loss over the annotated classes.

    Where some structures of an image are not annotated, background means "none of the annotated ones": its probability is
    the sum over the background and the structures not annotated. Any loss can be taken over the classes that remain. The
    paper's exclusion loss is not added, since the softmax makes structures exclude each other.

    A batch of images with different sets of annotated classes is split into one group for each set, and the losses are averaged
    by number of images. Where all classes are annotated, the loss is the plain one to the last bit.

    Parameters
    ----------
    build : callable
        Builds the plain loss over some of the classes, given their indices; the first is the background's.
    classes : int
        Number of all classes, the background included.
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
            Annotated classes of each image; unless given, all classes in all images.
        """
        total = logits.new_zeros(())
        for known, items in group_by_classes(annotated):
            if len(items) == len(logits):
                return self._set_loss(known, logits, labels)
            total = total + self._set_loss(known, logits[items], labels[items]) * (len(items) / len(logits))
        return total if annotated else self._set_loss((), logits, labels)

    def _set_loss(self, known: tuple[int, ...], logits: Tensor, labels: Tensor) -> Tensor:
        if known not in self._losses:
            self._losses[known] = self._build([0, *known])
        loss = self._losses[known]
        return loss(merge_logits(logits, known), merge_labels(labels, known)) if known else loss(logits, labels)


def group_by_classes(annotated: AnnotatedClasses) -> Iterator[tuple[tuple[int, ...], list[int]]]:
    """Yield each set of annotated classes of a batch with the positions of its images, in order of first occurrence."""
    for known in dict.fromkeys(annotated):
        yield known, [position for position, other in enumerate(annotated) if other == known]


def unannotated_classes(known: Sequence[int], classes: int) -> list[int]:
    """Return the classes of the merged background: the background, and those not annotated."""
    return [value for value in range(classes) if value not in known]


def merge_logits(logits: Tensor, known: Sequence[int]) -> Tensor:
    """Return logits (B, 1 + known, ...) whose softmax is the probability of the merged background and each annotated class."""
    background = torch.logsumexp(logits[:, unannotated_classes(known, logits.shape[1])], dim=1, keepdim=True)
    return torch.cat([background, logits[:, list(known)]], dim=1)


def merge_labels(labels: Tensor, known: Sequence[int]) -> Tensor:
    """Return labels in which the k-th annotated class is k, from 1, and all others are 0."""
    merged = torch.zeros_like(labels)
    for position, value in enumerate(known, start=1):
        merged.masked_fill_(labels == value, position)
    return merged
