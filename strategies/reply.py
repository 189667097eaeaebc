"""A training reply as strategies count it, and what is measured of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from flwr.app import ArrayRecord, MetricRecord, RecordDict

from medfl.aggregate import distance
from medfl.errors import ExchangeError
from medfl.messages.models import Tensors, check_finite, check_layout, layout_of
from medfl.messages.records import Metrics, ReplyRecord

_EQUAL_WEIGHT_KEY = "medfl.weight"  # stands for the weight where all replies weigh the same


@dataclass(frozen=True, eq=False)
class Reply:
    """A training reply, ready to be counted.

    Parameters
    ----------
    site : str
        Who sent it.
    arrays : mapping of str to ndarray
        The model that the site made: read-only views of the message, or what a wrapper decoded.
    weight : float
        What the site weighs, above 0.
    metrics : dict
        Its metrics.
    records : mapping of str to ArrayRecord
        What the algorithm lets it send beside the model, by name.
    start : mapping of str to ndarray
        The model that the site started from, for those who look at what it changed. There until the wrappers are through.
    """

    site: str
    arrays: Tensors
    weight: float
    metrics: Metrics = field(default_factory=dict)
    records: Mapping[str, ArrayRecord] = field(default_factory=dict)
    start: Tensors = field(default_factory=dict)


def mean_metrics(
    counted: Sequence[ReplyRecord], key: str, mean: Callable[[list[RecordDict], str], MetricRecord]
) -> MetricRecord | None:
    """Average the metrics that all replies have, in the order of the sites' names so that no bit depends on arrival.

    Parameters
    ----------
    counted : sequence of ReplyRecord
        The replies; those of weight 0 have nothing to say.
    key : str
        Metric that holds the weight, empty when all weigh the same.
    mean : callable
        Flower's ``aggregate_metricrecords`` or one of the same kind; it gets metrics only.

    Returns
    -------
    MetricRecord or None
        None when no reply has a weight.
    """
    weighed = sorted((r for r in counted if r.weight > 0), key=lambda r: r.site)
    if not weighed:
        return None
    shapes = [{k: len(v) if isinstance(v, list) else -1 for k, v in r.metrics.items()} for r in weighed]
    common = [k for k, length in shapes[0].items() if all(other.get(k) == length for other in shapes)]
    key = key or _EQUAL_WEIGHT_KEY
    contents = [RecordDict({"metrics": MetricRecord({**{k: r.metrics[k] for k in common}, key: r.weight})}) for r in weighed]
    return mean(contents, key)


def update_norm(reply: Reply) -> float:
    """Return the Euclidean norm of what a sound reply changed in its start; ``UPDATE-RANGE`` when its square is no float64."""
    check_layout(reply.arrays, layout_of(reply.start))
    check_finite(reply.arrays)
    with np.errstate(over="ignore"):
        length = distance(reply.arrays, reply.start)
    if not math.isfinite(length):
        raise ExchangeError("UPDATE-RANGE", "the update is too long to be measured.", "Training has diverged there.")
    return length
