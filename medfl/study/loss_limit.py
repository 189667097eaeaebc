"""Largest loss that a patient counts with, unless a study gives it: what a score of one patient can tell is bounded by it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from medfl.study.sections import Loss

_POWER = 4  # a truth of probability 1 / classes^4 costs four times what guessing costs in cross-entropy


def default_max_loss(loss: Loss, classes: Sequence[str]) -> float:
    """Return the loss of a patient whose truth has the probability ``classes ** -4``, with Dice terms at their largest value.

    Parameters
    ----------
    loss : Loss
        Loss of the study. Its class weights change a Dice or focal term, which no sum of weights divides; balanced ones do not
        count in an evaluation.
    classes : sequence of str
        All classes, the background included.

    Examples
    --------
    >>> round(default_max_loss(Loss(name="cross-entropy"), ("normal", "finding")), 3)
    2.773
    """
    given = () if loss.class_weights == ("balanced",) else tuple(map(float, loss.class_weights))
    weights = given or (1.0,) * len(classes)
    entropy = _POWER * math.log(len(classes))
    missed = 1.0 - 1.0 / len(classes) ** _POWER  # probability that the truth does not get
    focal = max(weights) * math.pow(missed, loss.gamma) * entropy / len(classes)  # it is a mean over classes, too
    dice = 1.0 if len(classes) == 2 else max(1.0, statistics.fmean(weights[1:]))  # MONAI weighs no single structure
    limits = {
        "dice-ce": dice + entropy,
        "dice-focal": dice + focal,
        "generalized-dice": 1.0,
        "cross-entropy": entropy,
        "focal": focal,
    }
    return limits[loss.name]
