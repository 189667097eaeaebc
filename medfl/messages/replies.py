"""Readers of replies: their metrics, arrays and weight, and the reason when one is left out."""

from __future__ import annotations

import math
import re

from flwr.app import ArrayRecord, ConfigRecord, Error, MetricRecord, RecordDict

from medfl.errors import ExchangeError, safe_sentence
from medfl.flower.compat import ErrorCode
from medfl.messages import counts
from medfl.messages.records import ARRAYS, EXCLUDED, SITE, Metrics

_REASON_LENGTH = 200
_OWN_CODE = re.compile(r"\[([A-Z][A-Z0-9-]{0,40})\] ")
_CLASS = re.compile(r"<class '([A-Za-z_][A-Za-z0-9_.]{0,100})'>")
_RAY_KILLED = ("running low on memory", "SIGKILL")  # in what Ray says of a process that died
_FLOWER_ERRORS = {
    ErrorCode.LOAD_CLIENT_APP_EXCEPTION: "[LOAD-ERROR] The client app could not be loaded",
    ErrorCode.CLIENT_APP_RAISED_EXCEPTION: "[CLIENT-ERROR] The client app raised an exception",
    ErrorCode.MESSAGE_UNAVAILABLE: "[MESSAGE-LOST] The message is no longer available",
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE: "[REPLY-LOST] The reply is no longer available",
    ErrorCode.NODE_UNAVAILABLE: "[NODE-LOST] The node is no longer connected",
    ErrorCode.MOD_FAILED_PRECONDITION: "[MOD-ERROR] A mod of the client app refused the message",
    ErrorCode.INVALID_FAB: "[APP-REFUSED] The site does not accept this app",
    ErrorCode.CLIENT_APP_CRASHED: "[CLIENT-STOPPED] The client app stopped without an answer",
}


def describe_error(error: Error) -> str:
    """Return why an error came instead of a reply, without its free text, which may hold a path or a name.

    Parameters
    ----------
    error : Error
        The error. Of its reason only medfl's own safe sentence or the class of the exception is used.

    Returns
    -------
    str
        One line of at most 200 characters.

    Examples
    --------
    >>> describe_error(Error(2, "<class 'FileNotFoundError'>:<'/data/DOE_JANE/1.dcm'>"))
    '[CLIENT-ERROR] The client app raised an exception (FileNotFoundError).'
    """
    reason = error.reason or ""
    own = _OWN_CODE.search(reason)
    if own and (sentence := safe_sentence(own.group(1))) in reason:
        return sentence
    raised = _CLASS.search(reason)
    if raised and raised.group(1).startswith("ray.exceptions."):  # of the process, in a simulation; ours raise through Flower
        is_killed = raised.group(1).endswith("OutOfMemoryError") or any(word in reason for word in _RAY_KILLED)
        return safe_sentence("SITE-KILLED" if is_killed else "SITE-CRASHED")
    text = _FLOWER_ERRORS.get(error.code, f"[ERROR-{error.code}] An error came instead of a reply")
    return f"{text}{f' ({raised.group(1)})' if raised else ''}."[:_REASON_LENGTH]


def describe_refusal(refusal: ExchangeError) -> str:
    """Return why a reply was left out, in one line of at most 200 characters."""
    return f"[{refusal.code}] {refusal.what}"[:_REASON_LENGTH]


def read_metrics(content: RecordDict) -> Metrics:
    """Return the metrics of a reply; ``METRICS-MISSING`` unless there is exactly one MetricRecord."""
    # not RecordDict.metric_records and .array_records: they make reference cycles that would keep the whole reply in memory
    found = [record for record in content.values() if isinstance(record, MetricRecord)]
    if len(found) != 1:
        raise ExchangeError("METRICS-MISSING", f"the reply has {len(found)} metric records, expected one.")
    return dict(found[0].items())


def read_arrays(content: RecordDict) -> tuple[ArrayRecord, dict[str, ArrayRecord]]:
    """Return the model of a reply, and its further array records by name.

    Raises
    ------
    ExchangeError
        ``ARRAYS-MISSING`` when there is no ArrayRecord, the model is empty, or there are several and none is called ``arrays``.
    """
    found = {name: record for name, record in content.items() if isinstance(record, ArrayRecord)}
    model = found.pop(next(iter(found)) if len(found) == 1 else ARRAYS, None)
    if not model:
        raise ExchangeError("ARRAYS-MISSING", f"the model is missing or empty ({len(found)} other array records).")
    return model, found


def read_excluded(content: RecordDict) -> dict[str, int]:
    """Return the cases that a site left out, by code; empty for clients of other packages, which do not report them."""
    site = content.get(SITE)
    try:
        return counts.from_text(str(site.get(EXCLUDED, ""))) if isinstance(site, ConfigRecord) else {}
    except ValueError:
        return {}


def read_weight(metrics: Metrics, key: str) -> float:
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
