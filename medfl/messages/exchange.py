"""One exchange of messages with the sites: it matches replies to sites, checks them, and records what became of each site."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from flwr.app import ConfigRecord, Message, RecordDict

from medfl.errors import ExchangeError
from medfl.messages.records import CONFIG, EXCHANGE, ROUND, RUN, SITE, Metrics, ReplyRecord, RoundRecord, count_bytes
from medfl.messages.replies import describe_error, describe_refusal, read_excluded, read_metrics, read_weight

WeightLimit = Callable[[Sequence[str]], float]
NO_REPLY = "[NO-REPLY] Nothing came before the deadline."
STALE = "[REPLY-STALE] The reply belongs to another message."
NOT_CONNECTED = "[NOT-CONNECTED] The site was not connected when the round began."


@dataclass(frozen=True, eq=False)
class CheckedReply:
    """A reply whose sender, metrics and weight have been checked; its arrays have not been read yet.

    Parameters
    ----------
    site : str
        Name of the site that sent it.
    content : RecordDict
        All records of the reply.
    metrics : dict
        Its metrics.
    weight : float
        Its weight, at least 0.
    """

    site: str
    content: RecordDict
    metrics: Metrics
    weight: float


class Exchange:
    """One exchange with the sites: the messages that were sent, and what became of each.

    `receive` yields the replies that can be counted, `refuse` leaves one of them out after all, and `record` returns what
    became of every site.

    Parameters
    ----------
    server_round : int
        The round, from 1.
    messages : sequence of Message
        What was sent, one message for each node.
    names : mapping of int to str
        Name of the site behind each node.
    earlier : sequence of Message
        Messages of earlier exchanges to other nodes, which may be answered in this one.
    silence : str
        Reason that is recorded for a site whose reply did not come.
    absent : iterable of str
        Sites that belong to the run and were not connected.
    weight_limit : callable, optional
        Given the names of the sites, returns the weight that a reply counts with at most, and is recorded with.
    """

    def __init__(
        self,
        server_round: int,
        messages: Sequence[Message],
        names: Mapping[int, str],
        earlier: Sequence[Message] = (),
        silence: str = NO_REPLY,
        absent: Iterable[str] = (),
        weight_limit: WeightLimit | None = None,
    ) -> None:
        self._absent = tuple(absent)
        asked = (*messages, *earlier)
        self._round, self._sent, self._silence = server_round, SentMessages(asked), silence
        self._names = {m.metadata.dst_node_id: names.get(m.metadata.dst_node_id, "") for m in asked}
        self._names = {node: name or f"node-{node}" for node, name in self._names.items()}
        self._most_weight = weight_limit(list(self._names.values())) if weight_limit else math.inf
        self._records: dict[str, ReplyRecord] = {}
        self._unexpected: list[ReplyRecord] = []
        self._bytes_down = sum(count_bytes(m.content) for m in messages)
        self._bytes_up = 0
        self._started = time.monotonic()

    def receive(self, replies: Iterable[Message], key: str) -> Iterator[CheckedReply]:
        """Yield each reply that can be counted, and record why each of the others cannot.

        Parameters
        ----------
        replies : iterable of Message
            The replies, taken one at a time as they arrive.
        key : str
            Metric that holds the weight of a reply, empty when all weigh the same.

        Yields
        ------
        CheckedReply
            Drop it before asking for the next one, or two replies are held in memory.
        """
        for message in replies:
            reply = self._check(message, key)
            if reply is not None:
                yield reply
                self._record_excluded(reply)
            del message, reply  # or they would stay in memory while the next one is fetched

    def refuse(self, site: str, reason: str) -> None:
        """Leave out the reply of a site that `receive` has yielded."""
        self._records[site] = dataclasses.replace(self._records[site], status="refused", reason=reason, weight=0.0)

    def record(self) -> RoundRecord:
        """Return what became of every site, once all replies have been received."""
        silent = set(self._names.values()) - set(self._records)
        late = [ReplyRecord(site, "late", self._silence) for site in silent]
        absent = [ReplyRecord(site, "absent", NOT_CONNECTED) for site in self._absent]
        everyone = sorted([*self._records.values(), *late, *absent, *self._unexpected], key=lambda r: r.site)
        return RoundRecord(self._round, tuple(everyone), self._bytes_up, self._bytes_down, time.monotonic() - self._started)

    def _check(self, message: Message, key: str) -> CheckedReply | None:
        node = self._find_node(message)
        if node is None:
            sender = f"node-{message.metadata.src_node_id}"
            self._unexpected.append(ReplyRecord(sender, "refused", "[SENDER-UNKNOWN] Nothing was asked of this node."))
            return None
        site = self._names[node]
        if site in self._records:
            self._unexpected.append(ReplyRecord(site, "refused", "[REPLY-TWICE] A second reply came."))
            return None
        reply, self._records[site] = self._read(site, message, key)
        return reply

    def _read(self, site: str, message: Message, key: str) -> tuple[CheckedReply | None, ReplyRecord]:
        if message.has_error():
            return None, ReplyRecord(site, "failed", describe_error(message.error))
        if not message.has_content():
            return None, ReplyRecord(site, "refused", "[REPLY-EMPTY] The reply has no content.")
        content = message.content
        self._bytes_up += count_bytes(content)
        metrics: Metrics = {}
        sent = self._sent.find(message)
        if sent is not None and is_stale(sent.content, content):
            return None, ReplyRecord(site, "refused", STALE)
        try:
            metrics = read_metrics(content)
            weight = min(read_weight(metrics, key), self._most_weight)
        except ExchangeError as refusal:
            return None, ReplyRecord(site, "refused", describe_refusal(refusal), 0.0, metrics)
        return CheckedReply(site, content, metrics, weight), ReplyRecord(site, "ok", "", weight, metrics)

    def _record_excluded(self, reply: CheckedReply) -> None:
        record = self._records[reply.site]
        if record.status == "ok":
            self._records[reply.site] = dataclasses.replace(record, excluded=read_excluded(reply.content))

    def _find_node(self, reply: Message) -> int | None:
        node = self._sent.find_node(reply)
        sender = reply.metadata.src_node_id
        return node if node is not None else sender if sender in self._names else None


def is_stale(sent: RecordDict, reply: RecordDict) -> bool:
    """Say whether a reply names another run, round or exchange than the message, as a recorded reply that is replayed does.

    A message that carries an exchange number, as those of medfl's own rounds do, must be answered with that number. Clients of
    other packages name none of the three; they are accepted where the message carries no exchange number.
    """
    question, site = sent.get(CONFIG), reply.get(SITE)
    if not isinstance(question, ConfigRecord):
        return False
    named: Mapping[str, object] = site if isinstance(site, ConfigRecord) else {}
    return any(key in named and named[key] != question.get(key) for key in (RUN, ROUND)) or (
        (EXCHANGE in question or EXCHANGE in named) and named.get(EXCHANGE) != question.get(EXCHANGE)
    )


def find_asked_node(reply: Message, messages: Iterable[Message]) -> int | None:
    """Return the node whose message a reply answers, None when it answers none of them.

    The sender alone does not say: for a lost node Flower answers with the server's own number as the sender.

    Parameters
    ----------
    reply : Message
        The reply.
    messages : iterable of Message
        What was sent. They get their identifiers when they are sent, so look only once a reply is there.
    """
    return SentMessages(tuple(messages)).find_node(reply)


class SentMessages:
    """Messages that were sent, found by the replies to them.

    Parameters
    ----------
    messages : sequence of Message
        What was sent. They get their identifiers when they are sent, and others when they are sent again.
    """

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages
        self._by_identifier: dict[str, Message] = {}

    def find(self, reply: Message) -> Message | None:
        """Return the message that a reply answers, None when it answers none of them."""
        identifier = reply.metadata.reply_to_message_id
        found = self._by_identifier.get(identifier)
        if found is None or found.metadata.message_id != identifier:
            self._by_identifier = {m.metadata.message_id: m for m in self._messages if m.metadata.message_id}
            found = self._by_identifier.get(identifier)
        return found

    def find_node(self, reply: Message) -> int | None:
        """Return the node whose message a reply answers, None when it answers none of them."""
        found = self.find(reply)
        return None if found is None else found.metadata.dst_node_id
