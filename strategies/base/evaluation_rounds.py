"""Messages of a round, the quorum, and evaluation: what training and evaluation of every strategy have in common."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from logging import INFO, WARNING, getLogger

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg as FlowerFedAvg

from medfl.errors import ExchangeError, QuorumError, fixes_of
from medfl.messages.exchange import Exchange
from medfl.messages.records import ROUND, Metrics, RoundRecord
from medfl.strategies.base.reply import mean_metrics
from medfl.strategies.base.site_sampling import choose_sites, wait_for_sites

_log = getLogger("flwr")
_NO_SCORE = (
    "%s This round has no score; the model is kept, and the run goes on. "
    "A ClientApp without an evaluate function needs fraction_evaluate=0."
)


class EvaluationRounds(FlowerFedAvg):
    """Evaluation rounds, and the messages and the quorum of both kinds of rounds; the base of `medfl.strategies.FedAvg`.

    An evaluation that fails ends no run, since the model would be lost with it.
    """

    quorum: int
    evaluate_weighted_by_key: str | None
    wait: float
    seed: int
    site_names: Mapping[int, str]
    last_evaluation: RoundRecord
    _absent: list[str]  # sites of the run that were not connected
    _evaluation: Exchange | None = None

    def configure_evaluate(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        """Choose the sites of an evaluation round and build their messages; warn, and ask none, when too few are there."""
        self._evaluation = None
        if self.fraction_evaluate == 0.0:
            return []
        try:
            messages = self._build_messages(server_round, arrays, config, grid, MessageType.EVALUATE)
        except QuorumError as error:
            _log.log(WARNING, _NO_SCORE, error)
            return []
        self._evaluation = Exchange(server_round, messages, self.site_names, absent=self._absent)
        return messages

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Return the mean of the evaluation metrics; None, with a warning, where fewer sites than the quorum answered.

        The answer of a site without cases to evaluate has no weight. One with a metric that is not finite is left out.
        """
        if self._evaluation is None:
            check_no_replies(replies)
            return None
        exchange, self._evaluation = self._evaluation, None
        key = self.weighted_by_key if self.evaluate_weighted_by_key is None else self.evaluate_weighted_by_key
        for reply in exchange.receive(replies, key):
            if reply.weight and (bad := _nonfinite_metric(reply.metrics)):
                exchange.refuse(reply.site, f"[METRICS-NONFINITE] The metric {bad!r} is not a finite number.")
            del reply  # its metrics are in the record
        self.last_evaluation = exchange.record()
        try:
            self._check_quorum(self.last_evaluation, "evaluate")
        except QuorumError as error:
            _log.log(WARNING, _NO_SCORE, error)
            return None
        return mean_metrics(self.last_evaluation.counted, key, self.evaluate_metrics_aggr_fn)

    def busy_sites(self) -> frozenset[str]:
        """Return the sites that still train between two rounds: another message to one of them would have to wait."""
        return frozenset()

    def message_contents(self, nodes: Mapping[int, str], arrays: ArrayRecord, config: ConfigRecord) -> dict[int, RecordDict]:
        """Return what each node is sent.

        Parameters
        ----------
        nodes : mapping of int to str
            Name of the site behind each node that takes part.
        arrays : ArrayRecord
            The model of the round.
        config : ConfigRecord
            The configuration of the round.

        Returns
        -------
        dict of int to RecordDict
            By node; nodes that are sent the same share one object, so that a grid stores it once.
        """
        content = RecordDict({self.arrayrecord_key: arrays, self.configrecord_key: config})
        return dict.fromkeys(nodes, content)

    def _build_messages(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid, message_type: str
    ) -> list[Message]:
        is_train = message_type == MessageType.TRAIN
        fraction = self.fraction_train if is_train else self.fraction_evaluate
        least = max(self.quorum, self.min_train_nodes if is_train else self.min_evaluate_nodes)
        sites = wait_for_sites(grid, max(least, self.min_available_nodes), self.wait, self.site_names)
        self._absent = sorted(set(self.site_names.values()) - set(sites.values()))
        nodes = choose_sites(sites, fraction, least, self.seed, f"{message_type} {server_round}")
        _log.log(INFO, "%s round %d: %d of %d sites take part", message_type, server_round, len(nodes), len(sites))
        config = ConfigRecord({**config, ROUND: server_round})
        contents = self.message_contents({node: sites[node] for node in nodes}, arrays, config)
        return [Message(contents[node], dst_node_id=node, message_type=message_type) for node in nodes]

    def _check_quorum(self, record: RoundRecord, what: str) -> None:
        counted, reasons = len(record.counted), record.reasons()
        if reasons:
            _log.log(WARNING, "%s round %d: left out: %s", what, record.round, reasons)
        if counted < self.quorum:
            fix = fixes_of(reply.reason for reply in record.replies if reply.status != "ok") or "See the logs of these sites."
            raise QuorumError(
                "QUORUM",
                f"{what} round {record.round}: {counted} of {len(record.replies)} replies could be counted, the quorum is "
                f"{self.quorum}. Left out: {reasons or 'none'}.",
                f"{fix} Or ask for fewer with 'quorum'.",
            )


def check_no_replies(replies: Iterable[Message]) -> None:
    """Raise ``NOT-CONFIGURED`` when there is a reply although nobody was asked."""
    if any(True for _ in replies):
        raise ExchangeError("NOT-CONFIGURED", "replies came before anything was asked.", "Call configure_* before aggregate_*.")


def _nonfinite_metric(metrics: Metrics) -> str:
    """Return the name of the first metric that is not finite, empty when all are."""
    values = {name: value if isinstance(value, list) else [value] for name, value in metrics.items()}
    return next((name for name, numbers in values.items() if not all(map(math.isfinite, numbers))), "")
