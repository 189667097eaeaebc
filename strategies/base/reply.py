"""Training reply as a strategy sees it, its loss, the norm of its update, and the mean of the metrics of all replies."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from flwr.app import ArrayRecord, MetricRecord, RecordDict

from medfl.aggregate import distance
from medfl.errors import ExchangeError
from medfl.messages.models import Tensors, check_finite, check_layout, layout_of
from medfl.messages.records import Metrics, ReplyRecord

MetricsMean = Callable[[list[RecordDict], str], MetricRecord]

_MAX_NORM = 2.0**510
_EQUAL_WEIGHT_KEY = "medfl.weight"  # stands for the weight where all replies weigh the same


@dataclass(frozen=True, eq=False)
class Reply:
    """A training reply, ready to be counted.

    Parameters
    ----------
    site : str
        Name of the site that sent it.
    arrays : mapping of str to ndarray
        The model that the site trained: read-only views of the message, or what a transform made of them.
    weight : float
        Weight of the reply, above 0.
    metrics : dict
        Metrics of the reply.
    records : mapping of str to ArrayRecord
        What the algorithm sends besides the model, by the name of the record.
    start : mapping of str to ndarray
        The model that the site started from, for transforms that look at what it changed.
    buffers : collection of str
        Names of the floating-point tensors that are no parameters, such as running statistics.
    """

    site: str
    arrays: Tensors
    weight: float
    metrics: Metrics = field(default_factory=dict)
    records: Mapping[str, ArrayRecord] = field(default_factory=dict)
    start: Tensors = field(default_factory=dict)
    buffers: Collection[str] = ()


def mean_metrics(counted: Sequence[ReplyRecord], key: str, mean: MetricsMean | None) -> MetricRecord | None:
    """Average the metrics that all replies have in common, in the order of the sites' names: no bit depends on arrival.

    Parameters
    ----------
    counted : sequence of ReplyRecord
        The replies; those of weight 0 are left out.
    key : str
        Metric that holds the weight; empty when all weigh the same.
    mean : callable
        Flower's ``aggregate_metricrecords`` or a function of the same kind; it gets metrics only.

    Returns
    -------
    MetricRecord or None
        None when no reply has a weight.
    """
    assert mean is not None  # Flower's class has put its own in the place of None
    weighted = sorted((r for r in counted if r.weight > 0), key=lambda r: r.site)
    if not weighted:
        return None
    shapes = [{k: len(v) if isinstance(v, list) else -1 for k, v in r.metrics.items()} for r in weighted]
    common = [k for k, length in shapes[0].items() if all(other.get(k) == length for other in shapes)]
    key = key or _EQUAL_WEIGHT_KEY
    contents = [RecordDict({"metrics": MetricRecord({**{k: r.metrics[k] for k in common}, key: r.weight})}) for r in weighted]
    return mean(contents, key)


def read_loss(reply: Reply, key: str) -> float:
    """Return a loss from the metrics of a reply; ``LOSS-MISSING`` unless it is finite and not negative."""
    loss = reply.metrics.get(key)
    if not isinstance(loss, int | float) or not 0 <= loss < math.inf:
        raise ExchangeError("LOSS-MISSING", f"the metric {key!r} of the reply is not a loss.")
    return float(loss)


def update_norm(reply: Reply) -> float:
    """Return the Euclidean norm of the update of the parameters; ExchangeError when a reply does not fit or is out of range.

    The largest norm is 2**510: the square of the distance between any two such replies is finite.
    """
    check_layout(reply.arrays, layout_of(reply.start))
    check_finite(reply.arrays)
    with np.errstate(over="ignore"):
        length = distance(reply.arrays, reply.start, reply.buffers)
    if not length <= _MAX_NORM:
        raise ExchangeError("UPDATE-RANGE", "the norm of the update is out of range.", "Training has diverged there.")
    return length
