"""One exchange with the sites: which reply is whose, what counts, and the record of what became of everybody."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from flwr.app import ConfigRecord, Message, RecordDict

from medfl.errors import ExchangeError
from medfl.messages.records import CONFIG, EXCHANGE, ROUND, RUN, SITE, Metrics, ReplyRecord, RoundRecord, count_bytes
from medfl.messages.replies import describe_error, describe_refusal, read_excluded, read_metrics, read_weight

NO_REPLY = "[NO-REPLY] Nothing came before the deadline."
STALE = "[REPLY-STALE] The reply is one to another question."
NOT_CONNECTED = "[NOT-CONNECTED] The site was not connected when the round began."

FoldReply = Callable[[str, RecordDict, Metrics, float], None]


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
        self._unexpected: list[ReplyRecord] = []
        self._bytes_down = sum(count_bytes(m.content) for m in messages)
        self._bytes_up = 0
        self._started = time.monotonic()

    def collect(self, replies: Iterable[Message], key: str, fold: FoldReply) -> RoundRecord:
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
            self._handle_reply(reply, key, fold)
            del reply  # or it would live on while the next one is fetched
        silent = set(self._names.values()) - set(self._records)
        late = [ReplyRecord(site, "late", self._silence) for site in silent]
        absent = [ReplyRecord(site, "absent", NOT_CONNECTED) for site in self._absent]
        everyone = sorted([*self._records.values(), *late, *absent, *self._unexpected], key=lambda r: r.site)
        return RoundRecord(self._round, tuple(everyone), self._bytes_up, self._bytes_down, time.monotonic() - self._started)

    def _handle_reply(self, reply: Message, key: str, fold: FoldReply) -> None:
        node = self._find_node(reply)
        if node is None:
            site = f"node-{reply.metadata.src_node_id}"
            self._unexpected.append(ReplyRecord(site, "refused", "[SENDER-UNKNOWN] Nothing was asked of this node."))
            return
        site = self._names[node]
        if site in self._records:
            self._unexpected.append(ReplyRecord(site, "refused", "[REPLY-TWICE] A second reply came."))
            return
        self._records[site] = self._read_reply(site, reply, key, fold)

    def _read_reply(self, site: str, reply: Message, key: str, fold: FoldReply) -> ReplyRecord:
        if reply.has_error():
            return ReplyRecord(site, "failed", describe_error(reply.error))
        if not reply.has_content():
            return ReplyRecord(site, "refused", "[REPLY-EMPTY] The reply has no content.")
        self._bytes_up += count_bytes(reply.content)
        metrics: Metrics = {}
        if any(is_stale(message.content, reply.content) for message in self._messages if self._is_reply_to(reply, message)):
            return ReplyRecord(site, "refused", STALE)
        try:
            metrics = read_metrics(reply.content)
            weight = read_weight(metrics, key)
            fold(site, reply.content, metrics, weight)
        except ExchangeError as refusal:
            return ReplyRecord(site, "refused", describe_refusal(refusal), 0.0, metrics)
        return ReplyRecord(site, "ok", "", weight, metrics, read_excluded(reply.content))

    @staticmethod
    def _is_reply_to(reply: Message, message: Message) -> bool:
        return message.metadata.message_id == reply.metadata.reply_to_message_id

    def _find_node(self, reply: Message) -> int | None:
        node = find_asked_node(reply, self._messages)
        sender = reply.metadata.src_node_id
        return node if node is not None else sender if sender in self._names else None


def is_stale(asked: RecordDict, answer: RecordDict) -> bool:
    """Say whether a reply names another run, round or exchange than the question, as one does that was recorded earlier.

    A question that bears the number of an exchange, as those of medfl's own rounds do, is answered with that number. Clients of
    other packages, which name none of the three, are held to none where a question bears no such number.
    """
    question, told = asked.get(CONFIG), answer.get(SITE)
    if not isinstance(question, ConfigRecord):
        return False
    named: Mapping[str, object] = told if isinstance(told, ConfigRecord) else {}
    return any(key in named and named[key] != question.get(key) for key in (RUN, ROUND)) or (
        (EXCHANGE in question or EXCHANGE in named) and named.get(EXCHANGE) != question.get(EXCHANGE)
    )


def find_asked_node(reply: Message, messages: Iterable[Message]) -> int | None:
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
