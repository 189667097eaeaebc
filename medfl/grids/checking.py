"""Grid that holds each reply against what its site told when it joined, and against the study."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MessageType, Metadata, MetricRecord, RecordDict
from flwr.serverapp import Grid

from medfl.errors import ExchangeError, safe_sentence
from medfl.flower import compat
from medfl.grids.grid_wrapper import GridWrapper
from medfl.grids.lost_nodes import answer_with_error
from medfl.grids.plausibility import Split, ToldCounts, check_evaluation, check_training
from medfl.messages import records
from medfl.messages.replies import read_metrics
from medfl.study import Study
from medfl.study.algorithms import ALGORITHMS

_MOST_RECORDS = 20
_MOST_CONFIG_BYTES = 100_000  # findings by code, and what pads an answer
_MOST_METRICS, _LONGEST_NAME = 10_000, 1000
_SPARE_BYTES, _SPARE_TENSORS = 1_000_000, 20
_MOST_MODELS = 4  # in a reply: the model, and what an algorithm sends along with it
_SPLITS: dict[object, Split] = {"validation": "validation", "test": "test", "train": "train"}


@dataclass(frozen=True)
class _Asked:
    metadata: Metadata
    split: Split


class CheckingGrid(GridWrapper):
    """A Grid that answers with an error for a site whose reply cannot be right; to be wrapped in a `StreamingGrid`.

    Parameters
    ----------
    grid : Grid
        The grid that is wrapped; its replies are unpacked.
    study : Study
        The study of the run.
    """

    def __init__(self, grid: Grid, study: Study) -> None:
        super().__init__(grid)
        self._study = study
        self._told: dict[int, ToldCounts] = {}  # by node, as it joined last
        self._asked: dict[str, _Asked] = {}  # messages that are not answered yet
        self._model_bytes = self._model_tensors = 0  # of the largest message so far

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages and return their identifiers."""
        sent = list(messages)
        shared = {id(message.content): message.content for message in sent}
        models = [content for content in shared.values() if records.START not in content]  # that one never comes back
        self._model_bytes = max([self._model_bytes, *map(_array_bytes, models)])
        self._model_tensors = max([self._model_tensors, *map(_count_tensors, models)])
        identifiers = list(self._grid.push_messages(sent))
        for identifier, message in zip(identifiers, sent, strict=True):
            config = message.content.get(records.CONFIG)
            split = config.get(records.SPLIT) if isinstance(config, ConfigRecord) else None
            if identifier:
                self._asked[identifier] = _Asked(message.metadata, _SPLITS.get(split, "validation"))
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have come, and an error for each that cannot be right."""
        return [self._check(reply) for reply in self._grid.pull_messages(message_ids)]

    def _check(self, reply: Message) -> Message:
        identifier = reply.metadata.reply_to_message_id
        asked = self._asked.pop(identifier, None)
        if asked is None or not reply.has_content():
            return reply
        try:
            self._check_content(reply.content, asked)
        except ExchangeError as refusal:
            error = Error(compat.ErrorCode.CLIENT_APP_RAISED_EXCEPTION, safe_sentence(refusal.code))
            return answer_with_error(identifier, asked.metadata, error)
        return reply

    def _check_content(self, content: RecordDict, asked: _Asked) -> None:
        kind, node = asked.metadata.message_type, asked.metadata.dst_node_id
        self._check_size(content)
        if kind == records.JOIN:
            self._remember(node, content)
        elif kind == MessageType.TRAIN:
            is_known = self._study.strategy.name in ALGORITHMS
            check_training(read_metrics(content), self._study, self._told.get(node), is_known=is_known)
        elif kind == MessageType.EVALUATE:
            check_evaluation(read_metrics(content), self._study, self._told.get(node), asked.split)

    def _check_size(self, content: RecordDict) -> None:
        """Refuse what no study's reply holds, before anything of it is read."""
        configs = (record for record in content.values() if isinstance(record, ConfigRecord))
        if len(content) > _MOST_RECORDS or any(compat.wire_size(config) > _MOST_CONFIG_BYTES for config in configs):
            raise ExchangeError("REPLY-SIZE", "a reply holds more records or keys than any study needs.")
        names = [name for record in content.values() if isinstance(record, ArrayRecord) for name in record]
        if len(names) > _MOST_MODELS * self._model_tensors + _SPARE_TENSORS or max(map(len, names), default=0) > _LONGEST_NAME:
            raise ExchangeError("REPLY-SIZE", "a reply holds more tensors than the study's model.")
        numbers = [record for record in content.values() if isinstance(record, MetricRecord)]
        if any(len(record) > _MOST_METRICS for record in numbers):
            raise ExchangeError("REPLY-SIZE", "a reply holds more metrics than any study asks for.")
        if _array_bytes(content) > _MOST_MODELS * self._model_bytes + _SPARE_BYTES:
            raise ExchangeError("REPLY-SIZE", "a reply holds more than the study's model.")

    def _remember(self, node: int, content: RecordDict) -> None:
        told = ToldCounts.read(read_metrics(content))
        if told is None:
            raise ExchangeError("JOIN-UNREADABLE", "the counts that this site reports cannot be read.")
        earlier = self._told.get(node)  # the patients of a run are fixed when its site first joins
        self._told[node] = told if earlier is None else earlier.at_most(told)


def _count_tensors(content: RecordDict) -> int:
    return sum(len(record) for record in content.values() if isinstance(record, ArrayRecord))


def _array_bytes(content: RecordDict) -> int:
    return sum(len(array.data) for r in content.values() if isinstance(r, ArrayRecord) for array in r.values())
