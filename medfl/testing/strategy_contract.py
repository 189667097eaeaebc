"""Contract of strategies: the tests that each must pass, whatever it makes of the replies."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict

from medfl.errors import ExchangeError, QuorumError, code_in
from medfl.flower import compat
from medfl.grids.streaming import StreamingGrid
from medfl.messages.records import ARRAYS, METRICS, RoundRecord, to_array_record
from medfl.strategies.fedavg import FedAvg
from medfl.testing.fake_grid import Answer, FakeGrid, Model, make_model, reply_with_content, reply_with_error

NAMES = ("bergen", "aachen", "cadiz", "essen", "derby", "genoa", "faro", "ivrea", "hamar", "kiel")
FIRST_NODE = 21  # number of the first node
ANY_NUMBER: Mapping[str, Any] = dict.fromkeys(("min_train_nodes", "min_evaluate_nodes", "min_available_nodes"), 1)
BAD_REPLIES = (
    "error",
    "own error",
    "lost",
    "late",
    "no arrays",
    "empty arrays",
    "no metrics",
    "two metrics",
    "empty",
    "cut short",
    "not finite",
    "wrong shape",
    "wrong names",
)


class StrategyContract:
    """Tests of one strategy, which a subclass names.

    Attributes
    ----------
    build : callable
        The class of the strategy, or a callable that builds one from the keyword arguments of
        `medfl.strategies.fedavg.FedAvg`; wrap a function in ``staticmethod``.
    min_replies : int
        Replies that the rule needs; with fewer a round must fail with a QuorumError.
    is_order_independent : bool
        Whether the order of arrival must not change a single bit.
    metrics : mapping of str to float
        Metrics that a good reply needs besides its weight and loss.
    """

    build: Callable[..., FedAvg]
    min_replies: ClassVar[int] = 1
    is_order_independent: ClassVar[bool] = True
    metrics: Mapping[str, float] = {}

    def extra_records(self, arrays: Model) -> dict[str, ArrayRecord]:
        """Return the records that a good reply holds besides the model, for algorithms that send more.

        Parameters
        ----------
        arrays : dict of str to ndarray
            The model in that reply.
        """
        return {}

    def reply_with_model(self, arrays: Model, weight: float, **more: float) -> Answer:
        """Answer with a model."""
        metrics = MetricRecord({"num-examples": weight, "loss": 0.5, **self.metrics, **more})
        content = RecordDict({ARRAYS: to_array_record(arrays), METRICS: metrics, **self.extra_records(arrays)})
        return lambda message: Message(content, reply_to=message)

    @pytest.fixture(autouse=True)
    def _process(self) -> None:
        compat.identify_process(1, compat.SERVER_NODE_ID)

    @pytest.fixture
    def initial(self) -> ArrayRecord:
        """Return the model that the first round begins with."""
        return to_array_record(make_model(0.0))

    def test_every_site_is_asked_with_the_model_and_the_round(self, initial: ArrayRecord) -> None:
        config, answers = ConfigRecord({"lr": 0.1}), self._answers()
        messages = list(self.build().configure_train(4, initial, config, FakeGrid(answers)))
        assert [m.metadata.dst_node_id for m in messages] == list(answers)
        assert {m.metadata.message_type for m in messages} == {MessageType.TRAIN}
        for message in messages:
            assert {**message.content["config"], "lr": 0.1, "server-round": 4} == dict(message.content["config"])
            assert message.content["arrays"].keys() == initial.keys()
        assert "server-round" not in config

    @pytest.mark.parametrize("streaming", [True, False])
    def test_the_record_of_a_round_is_complete(self, streaming: bool, initial: ArrayRecord) -> None:
        answers = self._answers()
        strategy = self.build(site_names=_sites(answers))
        _run_round(strategy, StreamingGrid(FakeGrid(answers)) if streaming else FakeGrid(answers), initial)
        record, one_way = strategy.last_round, initial.count_bytes()
        assert [r.site for r in record.replies] == sorted(_sites(answers).values())
        assert {r.status for r in record.replies} == {"ok"}
        assert record.replies[0].metrics == {"num-examples": 22, "loss": 0.5, **self.metrics}
        assert record.round == 1
        assert record.bytes_down > len(answers) * one_way
        assert record.bytes_up > len(answers) * one_way

    @pytest.mark.parametrize("kind", BAD_REPLIES)
    def test_a_bad_reply_is_recorded_and_left_out(self, kind: str, initial: ArrayRecord) -> None:
        bad, expected = self._bad_answers()[kind]
        good = self._answers(max(2, self.min_replies))
        worse = FIRST_NODE + len(good)
        sites = _sites([*good, worse])
        with_bad, without = self.build(site_names=sites), self.build(site_names=sites)
        result = _run_round(with_bad, StreamingGrid(FakeGrid(good | {worse: bad}, order=[worse, *good])), initial)
        assert _statuses(with_bad.last_round) == {sites[n]: ("ok", "") for n in good} | {sites[worse]: expected}
        assert "DOE" not in with_bad.last_round.reasons()
        assert _bits(result) == _bits(_run_round(without, StreamingGrid(FakeGrid(good)), initial))

    def test_below_the_quorum_the_round_fails_and_says_why(self, initial: ArrayRecord) -> None:
        answers = {21: self.reply_with_model(make_model(1), 2), 22: reply_with_error(8, "x"), 23: lambda _: None}
        strategy = self.build(quorum=2, site_names=_sites(answers))
        with pytest.raises(QuorumError) as caught:
            _run_round(strategy, StreamingGrid(FakeGrid(answers)), initial)
        assert caught.value.code == "QUORUM"
        assert "aachen: failed, [CLIENT-STOPPED]" in caught.value.what
        assert "cadiz: late, [NO-REPLY]" in caught.value.what
        assert _statuses(strategy.last_round)["bergen"] == ("ok", "")

    def test_the_fewest_replies_that_the_rule_needs_make_a_model_and_fewer_make_none(self, initial: ArrayRecord) -> None:
        made = _run_round(self.build(**ANY_NUMBER), FakeGrid(self._answers(self.min_replies)), initial)
        assert made is not None
        assert all(np.isfinite(array.numpy()).all() for array in made.values())
        if self.min_replies > 1:
            with pytest.raises(QuorumError):
                _run_round(self.build(**ANY_NUMBER), FakeGrid(self._answers(self.min_replies - 1)), initial)

    def test_too_few_sites_are_an_error_and_not_an_endless_wait(self, initial: ArrayRecord) -> None:
        answers = {21: self.reply_with_model(make_model(1), 2), 99: self.reply_with_model(make_model(1), 2)}
        strategy = self.build(quorum=2, wait=0.1, site_names=_sites([21]))  # node 99 has no name: it did not join
        with pytest.raises(QuorumError, match="TOO-FEW-SITES"):
            strategy.configure_train(1, initial, ConfigRecord(), FakeGrid(answers))

    def test_an_unknown_sender_and_a_second_reply_change_nothing(self, initial: ArrayRecord) -> None:
        grid, strategy = FakeGrid(self._answers(self.min_replies)), self.build(**ANY_NUMBER)
        messages = list(strategy.configure_train(1, initial, ConfigRecord(), grid))
        replies = list(grid.send_and_receive(messages))
        unasked = Message(RecordDict(), dst_node_id=77, message_type=MessageType.TRAIN)
        unknown = self.reply_with_model(make_model(9), 5)(unasked)
        arrays, _ = strategy.aggregate_train(1, [*replies, *replies[:1], *([unknown] if unknown else [])])
        again = _run_round(self.build(**ANY_NUMBER), FakeGrid(self._answers(self.min_replies)), initial)
        assert _bits(arrays) == _bits(again)
        assert _statuses(strategy.last_round)["node-77"] == ("refused", "SENDER-UNKNOWN")
        assert [r.reason for r in strategy.last_round.replies if r.site == "node-21"] == [
            "",
            "[REPLY-TWICE] A second reply came.",
        ]

    def test_the_order_of_arrival_changes_no_bit(self, initial: ArrayRecord) -> None:
        if not self.is_order_independent:
            pytest.skip("this strategy does not promise it")
        rng = np.random.default_rng(0)
        nodes = [n + 1 for n in range(max(4, self.min_replies))]
        models = {n: make_model(0) | {"weight": rng.standard_normal((2, 3), np.float32)} for n in nodes}
        seen = set()
        for order in itertools.islice(itertools.permutations(nodes), 24):
            answers = {n: self.reply_with_model(m, n * 7, accuracy=0.1 * n) for n, m in models.items()}
            grid, strategy = StreamingGrid(FakeGrid(answers, order[::-1])), self.build()
            messages = strategy.configure_train(1, initial, ConfigRecord(), grid)
            arrays, metrics = strategy.aggregate_train(1, grid.send_and_receive(messages))
            seen.add((*_bits(arrays).values(), repr(sorted(metrics.items() if metrics else ()))))
        assert len(seen) == 1

    def test_names_order_shapes_and_types_are_kept(self) -> None:
        def some(k: int) -> Model:
            rng = np.random.default_rng(k)
            return {
                "single": rng.standard_normal((3, 2), np.float32),
                "half": rng.standard_normal(4).astype(np.float16),
                "double": rng.standard_normal(()),
                "counter": np.array(k),
                "flags": rng.random(3) > 0.5,
                "nothing": np.empty((0, 2), np.float32),
            }

        answers = {FIRST_NODE + k: self.reply_with_model(some(k + 1), 2) for k in range(max(2, self.min_replies))}
        made = _run_round(self.build(), FakeGrid(answers), to_array_record(some(0)))
        assert made is not None
        assert [(n, a.numpy().shape, a.numpy().dtype) for n, a in made.items()] == [
            (n, x.shape, x.dtype) for n, x in some(0).items()
        ]

    def test_running_variances_stay_among_those_that_were_sent_and_came(self) -> None:
        """Or fall below zero: they are no parameters. A codec that would spoil them may refuse the model."""
        model: Model = {"weight": np.zeros((2, 3), np.float32), "norm.running_var": np.array([1.0, 1e6], np.float32)}
        strategy = self.build()
        for server_round in (1, 2, 3):  # far down, and up again
            low, high = np.array([1e-3, 1.0], np.float32), np.array([1.0, 1e6], np.float32)
            low = low if server_round < 3 else high
            nodes = range(FIRST_NODE, FIRST_NODE + max(3, self.min_replies))
            sent = {n: {"weight": np.full((2, 3), 0.1 * n, np.float32), "norm.running_var": low * (n - 20)} for n in nodes}
            grid = FakeGrid({n: self.reply_with_model(x, n) for n, x in sent.items()})
            try:
                made = _run_round(strategy, grid, to_array_record(model), server_round)
            except ExchangeError as refusal:
                if refusal.code == "CODEC-BUFFERS" and not grid.messages:
                    return
                raise
            variances = np.array([x["norm.running_var"] for x in (model, *sent.values())])
            model = {name: array.numpy() for name, array in made.items()} if made else {}
            assert (model["norm.running_var"] >= 0.999 * variances.min(axis=0)).all()
            assert (model["norm.running_var"] <= 1.001 * variances.max(axis=0)).all()

    def test_its_state_survives_a_restart(self, initial: ArrayRecord) -> None:
        one, two = self._answers(), {node: self.reply_with_model(make_model(node % 5), 3) for node in self._answers()}
        whole, resumed = self.build(site_names=_sites(one)), self.build(site_names=_sites(one))
        first = _run_round(whole, FakeGrid(one), initial)
        assert first is not None
        saved = {name: np.array(x) for name, x in whole.state().items()}
        second = _run_round(whole, FakeGrid(two), first, 2)
        resumed.restore(saved)
        assert _bits(_run_round(resumed, FakeGrid(two), first, 2)) == _bits(second)

    def test_the_choice_of_sites_depends_on_seed_round_and_names_only(self, initial: ArrayRecord) -> None:
        def chosen(nodes: Sequence[int], seed: int, server_round: int) -> list[str]:
            names = dict(zip(nodes, "abcdefgh", strict=True))
            strategy = self.build(fraction_train=0.5, seed=seed, site_names=names)
            grid = FakeGrid(dict.fromkeys(sorted(nodes), lambda _: None))
            messages = strategy.configure_train(server_round, initial, ConfigRecord(), grid)
            return [names[m.metadata.dst_node_id] for m in messages]

        forward, backward = range(10, 18), range(17, 9, -1)
        assert len(chosen(forward, 1, 1)) == 4
        assert chosen(forward, 1, 1) == chosen(backward, 1, 1)
        assert len({tuple(chosen(forward, seed, r)) for seed in range(3) for r in range(3)}) > 5

    def test_it_runs_in_any_flower_app(self, initial: ArrayRecord) -> None:
        grid = FakeGrid(self._answers())
        result = self.build(fraction_evaluate=0.0).start(grid, initial, num_rounds=2)
        assert result.arrays.keys() == initial.keys()
        assert result.train_metrics_clientapp[2]["loss"] == pytest.approx(0.5)
        assert len(grid.messages) == 2 * len(grid.answers)

    def test_a_round_without_training_sends_nothing(self, initial: ArrayRecord) -> None:
        strategy = self.build(fraction_train=0.0)
        assert list(strategy.configure_train(1, initial, ConfigRecord(), FakeGrid({1: reply_with_error(0, "")}))) == []
        assert strategy.aggregate_train(1, []) == (None, None)

    def _answers(self, count: int = 0) -> dict[int, Answer]:
        """Return good answers of as many nodes as the rule needs, but at least three, or of `count` nodes."""
        nodes = range(FIRST_NODE, FIRST_NODE + (count or max(3, self.min_replies)))
        return {node: self.reply_with_model(make_model(node), node) for node in nodes}

    def _bad_answers(self) -> dict[str, tuple[Answer, tuple[str, str]]]:
        fine, metrics = to_array_record(make_model(1)), MetricRecord({"num-examples": 2, "loss": 0.5, **self.metrics})
        cut, nan = to_array_record(make_model(1)), make_model(1)
        cut["weight"].data = cut["weight"].data[:-3]
        nan["weight"][0, 0] = np.nan
        extra = self.extra_records(make_model(1))
        no_arrays = ("refused", "ARRAYS-MISSING")
        no_metrics = ("refused", "METRICS-MISSING")
        misfit = ("refused", "MODEL-MISMATCH")
        return {
            "error": (reply_with_error(2, "<class 'ValueError'>:<'/data/DOE'>"), ("failed", "CLIENT-ERROR")),
            "own error": (reply_with_error(2, "[LBL-EMPTY] The details are in the log of the site."), ("failed", "LBL-EMPTY")),
            "lost": (reply_with_error(5, "Node Unavailable", as_server=True), ("failed", "NODE-LOST")),
            "late": (lambda _: None, ("late", "NO-REPLY")),
            "no arrays": (reply_with_content(RecordDict({METRICS: metrics})), no_arrays),
            "empty arrays": (reply_with_content(RecordDict({ARRAYS: ArrayRecord(), METRICS: metrics})), no_arrays),
            "no metrics": (reply_with_content(RecordDict({ARRAYS: fine})), no_metrics),
            "two metrics": (reply_with_content(RecordDict({ARRAYS: fine, "m": metrics, "n": metrics})), no_metrics),
            "empty": (reply_with_content(RecordDict()), no_metrics),
            "cut short": (
                reply_with_content(RecordDict({ARRAYS: cut, METRICS: metrics, **extra})),
                ("refused", "ARRAYS-UNREADABLE"),
            ),
            "not finite": (self.reply_with_model(nan, 2), ("refused", "UPDATE-NONFINITE")),
            "wrong shape": (self.reply_with_model(make_model(1, size=4), 2), misfit),
            "wrong names": (self.reply_with_model({"other": np.zeros(2, np.float32)}, 2), misfit),
        }


def _run_round(strategy: FedAvg, grid: Any, arrays: ArrayRecord, server_round: int = 1) -> ArrayRecord | None:
    messages = strategy.configure_train(server_round, arrays, ConfigRecord({"lr": 0.1}), grid)
    return strategy.aggregate_train(server_round, grid.send_and_receive(messages, timeout=0.2))[0]


def _sites(nodes: Iterable[int]) -> dict[int, str]:
    return {node: NAMES[node - FIRST_NODE] for node in nodes}


def _statuses(record: RoundRecord) -> dict[str, tuple[str, str]]:
    return {r.site: (r.status, code_in(r.reason)) for r in record.replies}


def _bits(arrays: ArrayRecord | None) -> dict[str, bytes]:
    assert arrays is not None
    return {name: array.data for name, array in arrays.items()}
