"""Reading replies: what each holds and is worth, and why one is left out."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Error, MetricRecord, RecordDict

from medfl.aggregate import distance
from medfl.errors import ExchangeError, safe_sentence
from medfl.messages import counts
from medfl.messages.models import Tensors, check_finite, check_layout, layout_of
from medfl.messages.records import ARRAYS, EXCLUDED, SITE, Metrics, ReplyRecord

_REASON_LENGTH = 200
_OWN_CODE = re.compile(r"\[([A-Z][A-Z0-9-]{0,40})\] ")
_CLASS = re.compile(r"<class '([A-Za-z_][A-Za-z0-9_.]{0,100})'>")
_FLOWER_ERRORS = {  # flwr.common.constant.ErrorCode
    1: "[LOAD-ERROR] The client app could not be loaded",
    2: "[CLIENT-ERROR] The client app raised an exception",
    3: "[MESSAGE-LOST] The message is no longer available",
    4: "[REPLY-LOST] The reply is no longer available",
    5: "[NODE-LOST] The node is no longer connected",
    6: "[MOD-ERROR] A mod of the client app refused the message",
    7: "[APP-REFUSED] The site does not accept this app",
    8: "[CLIENT-STOPPED] The client app stopped without an answer",
}
_EQUAL = "medfl.weight"  # stands for the weight where all replies weigh the same


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


def error_text(error: Error) -> str:
    """Tell why an error came instead of a reply, without repeating free text: that may hold a path or a name.

    Parameters
    ----------
    error : Error
        The error as it came. Of its reason only medfl's own safe sentence or the class of the exception is kept.

    Returns
    -------
    str
        One line of at most 200 characters.

    Examples
    --------
    >>> error_text(Error(2, "<class 'FileNotFoundError'>:<'/data/DOE_JANE/1.dcm'>"))
    '[CLIENT-ERROR] The client app raised an exception (FileNotFoundError).'
    """
    reason = error.reason or ""
    own = _OWN_CODE.search(reason)
    if own and (sentence := safe_sentence(own.group(1))) in reason:
        return sentence
    raised = _CLASS.search(reason)
    text = _FLOWER_ERRORS.get(error.code, f"[ERROR-{error.code}] An error came instead of a reply")
    return f"{text}{f' ({raised.group(1)})' if raised else ''}."[:_REASON_LENGTH]


def refusal_text(refusal: ExchangeError) -> str:
    """Tell in one line of at most 200 characters why a reply was left out."""
    return f"[{refusal.code}] {refusal.what}"[:_REASON_LENGTH]


def metrics_in(content: RecordDict) -> Metrics:
    """Return the metrics of a reply; ``METRICS-MISSING`` unless there is exactly one MetricRecord."""
    # RecordDict.metric_records and .array_records make reference cycles, which would keep the whole reply in memory
    found = [record for record in content.values() if isinstance(record, MetricRecord)]
    if len(found) != 1:
        raise ExchangeError("METRICS-MISSING", f"the reply has {len(found)} metric records, expected one.")
    return dict(found[0].items())


def arrays_in(content: RecordDict) -> tuple[ArrayRecord, dict[str, ArrayRecord]]:
    """Return the model of a reply, and its further array records by name.

    Raises
    ------
    ExchangeError
        ``ARRAYS-MISSING`` when no ArrayRecord is there, the model is empty, or of several none is called ``arrays``.
    """
    found = {name: record for name, record in content.items() if isinstance(record, ArrayRecord)}
    model = found.pop(next(iter(found)) if len(found) == 1 else ARRAYS, None)
    if not model:
        raise ExchangeError("ARRAYS-MISSING", f"{len(found)} array records beside the model, which is missing or empty.")
    return model, found


def excluded_in(content: RecordDict) -> dict[str, int]:
    """Return the cases that a site left out, by code; none where it tells nothing of the kind, as clients of others do."""
    told = content.get(SITE)
    try:
        return counts.from_text(str(told.get(EXCLUDED, ""))) if isinstance(told, ConfigRecord) else {}
    except ValueError:
        return {}


def weight_in(metrics: Metrics, key: str) -> float:
    """Return the weight of a reply, 1 when there is no key.

    Raises
    ------
    ExchangeError
        ``WEIGHT-MISSING`` when the metric is missing or a list, ``WEIGHT-RANGE`` when it is negative or not finite.
    """
    weight = metrics.get(key) if key else 1
    if weight is None or isinstance(weight, list):
        raise ExchangeError("WEIGHT-MISSING", f"the metrics of the reply hold no single number {key!r}.")
    if not math.isfinite(weight) or weight < 0:
        raise ExchangeError("WEIGHT-RANGE", f"the weight {key!r} is {weight}.")
    return weight


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
    key = key or _EQUAL
    contents = [RecordDict({"metrics": MetricRecord({**{k: r.metrics[k] for k in common}, key: r.weight})}) for r in weighed]
    return mean(contents, key)


def update_length(reply: Reply) -> float:
    """Return the Euclidean norm of what a sound reply changed in its start; ``UPDATE-RANGE`` when its square is no float64."""
    check_layout(reply.arrays, layout_of(reply.start))
    check_finite(reply.arrays)
    with np.errstate(over="ignore"):
        length = distance(reply.arrays, reply.start)
    if not math.isfinite(length):
        raise ExchangeError("UPDATE-RANGE", "the update is too long to be measured.", "Training has diverged there.")
    return length
