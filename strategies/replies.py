"""Reading replies: what each is worth, why one is left out, and the record of a whole exchange."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from medfl import counts
from medfl.aggregate import distance
from medfl.errors import ExchangeError, safe_sentence
from medfl.records import (
    ARRAYS,
    CONFIG,
    EXCHANGE,
    EXCLUDED,
    ROUND,
    RUN,
    SITE,
    Metrics,
    ReplyRecord,
    RoundRecord,
    count_bytes,
)
from medfl.updates import Tensors, check_finite, check_layout, layout_of

NO_REPLY = "[NO-REPLY] Nothing came before the deadline."
STALE = "[REPLY-STALE] The reply is one to another question."
NOT_CONNECTED = "[NOT-CONNECTED] The site was not connected when the round began."

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


Fold = Callable[[str, RecordDict, Metrics, float], None]


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


class Exchange:
    """One exchange with the sites: who was asked, and what became of each.

    Parameters
    ----------
    server_round : int
        The round, from 1.
    messages : sequence of Message
        What was sent, one message a node.
    names : mapping of int to str
        Name of the site behind each node.
    earlier : sequence of Message
        Messages of earlier exchanges to other nodes, which may be answered in this one.
    silence : str
        What is told of a site whose reply did not come.
    absent : iterable of str
        Sites that belong to the run and could not be asked.
    """

    def __init__(
        self,
        server_round: int,
        messages: Sequence[Message],
        names: Mapping[int, str],
        earlier: Sequence[Message] = (),
        silence: str = NO_REPLY,
        absent: Iterable[str] = (),
    ) -> None:
        self._absent = tuple(absent)
        self._round, self._messages, self._silence = server_round, (*messages, *earlier), silence
        self._names = {m.metadata.dst_node_id: names.get(m.metadata.dst_node_id, "") for m in self._messages}
        self._names = {node: name or f"node-{node}" for node, name in self._names.items()}
        self._records: dict[str, ReplyRecord] = {}
        self._strangers: list[ReplyRecord] = []
        self._bytes_down = sum(count_bytes(m.content) for m in messages)
        self._bytes_up = 0
        self._started = time.monotonic()

    def gather(self, replies: Iterable[Message], key: str, fold: Fold) -> RoundRecord:
        """Take all replies, one at a time.

        Parameters
        ----------
        replies : iterable of Message
            The replies as they come.
        key : str
            Metric that holds the weight of a reply, empty when all weigh the same.
        fold : callable
            Gets the name of the site, the content, the metrics and the weight; raises ExchangeError to have the reply left
            out.

        Returns
        -------
        RoundRecord
            Every site that was asked, with what became of it.
        """
        for reply in replies:
            self._take(reply, key, fold)
            del reply  # or it would live on while the next one is fetched
        silent = set(self._names.values()) - set(self._records)
        late = [ReplyRecord(site, "late", self._silence) for site in silent]
        absent = [ReplyRecord(site, "absent", NOT_CONNECTED) for site in self._absent]
        everyone = sorted([*self._records.values(), *late, *absent, *self._strangers], key=lambda r: r.site)
        return RoundRecord(self._round, tuple(everyone), self._bytes_up, self._bytes_down, time.monotonic() - self._started)

    def _take(self, reply: Message, key: str, fold: Fold) -> None:
        node = self._node_of(reply)
        if node is None:
            site = f"node-{reply.metadata.src_node_id}"
            self._strangers.append(ReplyRecord(site, "refused", "[SENDER-UNKNOWN] Nothing was asked of this node."))
            return
        site = self._names[node]
        if site in self._records:
            self._strangers.append(ReplyRecord(site, "refused", "[REPLY-TWICE] A second reply came."))
            return
        self._records[site] = self._read(site, reply, key, fold)

    def _read(self, site: str, reply: Message, key: str, fold: Fold) -> ReplyRecord:
        if reply.has_error():
            return ReplyRecord(site, "failed", error_text(reply.error))
        if not reply.has_content():
            return ReplyRecord(site, "refused", "[REPLY-EMPTY] The reply has no content.")
        self._bytes_up += count_bytes(reply.content)
        metrics: Metrics = {}
        if any(is_stale(message.content, reply.content) for message in self._messages if self._is_for(reply, message)):
            return ReplyRecord(site, "refused", STALE)
        try:
            metrics = metrics_in(reply.content)
            weight = weight_in(metrics, key)
            fold(site, reply.content, metrics, weight)
        except ExchangeError as refusal:
            return ReplyRecord(site, "refused", refusal_text(refusal), 0.0, metrics)
        return ReplyRecord(site, "ok", "", weight, metrics, excluded_in(reply.content))

    @staticmethod
    def _is_for(reply: Message, message: Message) -> bool:
        return message.metadata.message_id == reply.metadata.reply_to_message_id

    def _node_of(self, reply: Message) -> int | None:
        node = node_asked(reply, self._messages)
        sender = reply.metadata.src_node_id
        return node if node is not None else sender if sender in self._names else None


def is_stale(asked: RecordDict, answer: RecordDict) -> bool:
    """Say whether a reply names another run, round or exchange than the question, as one does that was recorded earlier.

    Clients that name none, as those of other packages, are not held to it.
    """
    question, told = asked.get(CONFIG), answer.get(SITE)
    if not isinstance(question, ConfigRecord) or not isinstance(told, ConfigRecord):
        return False
    return any(key in told and told[key] != question.get(key) for key in (RUN, ROUND, EXCHANGE))


def node_asked(reply: Message, messages: Iterable[Message]) -> int | None:
    """Return the node that was sent the message which a reply is for.

    Flower answers for a lost node with its own number as the sender, hence not simply by the sender.

    Parameters
    ----------
    reply : Message
        As it came.
    messages : iterable of Message
        What was sent; they get their identifiers on the way, so not before a reply came.
    """
    asked = {m.metadata.message_id: m.metadata.dst_node_id for m in messages if m.metadata.message_id}
    return asked.get(reply.metadata.reply_to_message_id)
