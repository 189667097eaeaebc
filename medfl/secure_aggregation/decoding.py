"""From the sum of the vectors to the mean of the updates, and how far it can be from the exact one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from medfl.errors import SecureAggregationError
from medfl.secure_aggregation.layout import CHUNK, CLIPPED, SITES, WEIGHT, VectorLayout
from medfl.secure_aggregation.vector import ModularVector

_FLOAT_SLACK = 1 + 2.0**-16  # a value is scaled in float64, which moves it by less than this part of a step


@dataclass(frozen=True)
class AggregatedUpdate:
    """What the server learns of a round.

    Parameters
    ----------
    mean : dict of str to ndarray
        Mean of the updates, weighted.
    weight : int
        Sum of the weights.
    clipped : int
        Values of all updates that were beyond their range.
    counters : dict of str to int
        Sums of the further counters.
    """

    mean: dict[str, NDArray[np.floating]]
    weight: int
    clipped: int
    counters: dict[str, int]


def decode_sum(layout: VectorLayout, total: ModularVector, survivors: int, dtype: DTypeLike = np.float32) -> AggregatedUpdate:
    """Decode a sum of vectors.

    Parameters
    ----------
    layout : VectorLayout
        Layout of the round.
    total : ModularVector
        The sum, without masks.
    survivors : int
        How many sites are in it.
    dtype : dtype
        Type of the mean.

    Raises
    ------
    SecureAggregationError
        ``SECAGG-SUM`` when it cannot be the sum of so many sites, as when a mask is left in it; ``SECAGG-WEIGHT`` when all
        weights are 0.
    """
    total.require(layout)
    counts = dict(zip(layout.all_counters, total.counters.view(np.int64).tolist(), strict=True))
    weight, clipped = counts[WEIGHT], counts[CLIPPED]
    possible = 0 <= weight <= survivors * layout.weight_ceiling and 0 <= clipped <= survivors * layout.size
    if counts[SITES] != survivors or survivors > layout.sites or not possible:
        what = (
            "the values that came are not a sum of the sites that answered: a mask is left, or a site counts more than it may."
        )
        raise SecureAggregationError(
            "SECAGG-SUM", what, "Repeat the round; see whether all sites run the same version of medfl."
        )
    if weight == 0:
        raise SecureAggregationError(
            "SECAGG-WEIGHT", "no site has any weight, so there is no mean.", "See that sites have data."
        )
    mean, start = {}, 0
    for tensor in layout.tensors:
        scale = tensor.bound / layout.levels * (layout.weight_ceiling / weight)
        values = total.parameters[start : start + tensor.size].view(f"i{layout.bits // 8}")
        decoded = np.empty(tensor.size, dtype)
        for at in range(0, tensor.size, CHUNK):
            decoded[at : at + CHUNK] = values[at : at + CHUNK] * scale
        mean[tensor.name] = decoded.reshape(tensor.shape)
        start += tensor.size
    return AggregatedUpdate(mean, weight, clipped, {name: counts[name] for name in layout.counters})


def quantisation_error_bounds(layout: VectorLayout, survivors: int, weight: int) -> dict[str, float]:
    """Return how far a value of a mean can be from the exact weighted mean of the clipped updates, for each tensor.

    Each site rounds by less than one step, ``bound / levels``, of what it weighs at the ceiling. The expected error is 0: it is
    as often above as below.

    Parameters
    ----------
    layout : VectorLayout
        Layout of the round.
    survivors : int
        Sites in the sum.
    weight : int
        Sum of their weights.

    Returns
    -------
    dict of str to float
        In the unit of each tensor, before the mean is rounded to the type of the model.
    """
    steps = survivors * layout.weight_ceiling / weight * _FLOAT_SLACK
    return {tensor.name: tensor.bound / layout.levels * steps for tensor in layout.tensors}
