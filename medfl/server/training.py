"""Training of one arm of a comparison: the rounds, the choice of the best model on validation patients, and the test.

`ArmTrainer` is the loop that the arms share; `medfl.server.federated_training` and `medfl.server.local_training` say what is
trained. After every round the models, the state of the strategy, and then the event of the round are on disk. A round is done
when its event is there; a run that broke off goes on after the last such round, from what the history says of it.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from flwr.app import ArrayRecord, ConfigRecord

from medfl import metrics
from medfl.errors import ExchangeError, QuorumError
from medfl.messages import records
from medfl.messages.records import Metrics, RoundRecord
from medfl.messages.replies import describe_refusal
from medfl.runs import Event
from medfl.runs.history import is_complete_round
from medfl.server.checkpoints import SHARED, ModelSeriesStore
from medfl.server.federation import Federation
from medfl.server.test_results import part_external, test_results
from medfl.strategies.fedavg import FedAvg


class ArmTrainer(ABC):
    """Rounds and test of one arm.

    Parameters
    ----------
    federation : Federation
        The sites.
    strategy : FedAvg
        What the server does in a round; its `begin_run` is left to the subclass.
    initial : ArrayRecord
        The model to start from.
    """

    name: ClassVar[str]
    """Name of the arm in messages, checkpoints and the history."""

    def __init__(self, federation: Federation, strategy: FedAvg, initial: ArrayRecord) -> None:
        self._federation, self._study, self._run = federation, federation.study, federation.run
        self._strategy, self._arrays = strategy, initial
        self._series = ModelSeriesStore(self._run, self.name)
        self._last_round = 0  # the last round that is done
        self._is_trained = False  # and the last models are scored
        self._tested_series: set[str] = set()
        self._trained_sites: set[str] = set()  # sites with a reply that counted
        self._rounds = self._study.rounds_of(self.name)

    def resume(self, events: Sequence[Event]) -> None:
        """Go back to where a run stood when it broke off.

        Parameters
        ----------
        events : sequence of dict
            The history of the run; events of other arms are passed over.

        Raises
        ------
        RunError
            ``CHECKPOINT-MISSING`` or ``CHECKPOINT-DAMAGED`` when a checkpoint that the history speaks of cannot be read.
        """
        joined: set[str] = set()
        last: Event = {}  # of the last round that is done
        unscored = 0  # round whose models are still to be scored in an exchange of their own
        for event in events:
            if event["event"] == "joined" and not event.get("external"):
                joined.add(str(event["site"]))
            elif event.get("arm") != self.name:
                continue
            elif event["event"] == "round" and is_complete_round(event):
                last = event
                self._replay_round(event, joined)
                unscored = self._last_round if self._needs_own_evaluation(self._last_round) else 0
            elif event["event"] == "scored":
                self._replay_scores(int(event["round"]), event)
                self._is_trained, unscored = not unscored, 0
            elif event["event"] == "test":
                self._tested_series.add(str(event["model"].get("site", SHARED)))
        if self._last_round:
            self._restore(last)
            if unscored:
                self._evaluate_idle_sites(unscored)

    def train(self) -> None:
        """Run the rounds that are left, score the last models, and record everything."""
        self._add_series()
        while not self._is_trained and not self._is_finished():
            self._run_round(self._last_round + 1)
        self._drop_untrained()
        if not self._is_trained:
            self._evaluate_models(self._last_round, self._federation.sites.values())
        self._series.select_best(self._last_round)
        self._series.prune()

    def test(self) -> None:
        """Have every site score the chosen models on its test patients, once."""
        for name, series in self._series.items():
            if name in self._tested_series:
                continue
            is_shared, is_simulation = name == SHARED, self._run.app.is_simulation
            chosen = records.to_array_record(self._series.load(name, series.best_round).arrays)
            after = self._last_round + 1  # the sites' own state is as the last scoring left it
            answers = self._federation.evaluate(
                chosen,
                "test",
                self.name,
                after,
                own_folder=is_shared or is_simulation,
                model_round=series.best_round if is_shared else 0,
                owner=name if is_simulation else "",
            )
            model = {"round": series.best_round} | ({} if is_shared else {"site": name})
            self._record_test(model, answers)

    # What the arms do in their own way.

    @abstractmethod
    def _series_names(self, sites: Iterable[str]) -> Iterable[str]:
        """Return the names of the model series, given the sites that joined."""

    @abstractmethod
    def _model_of_series(self, name: str) -> ArrayRecord:
        """Return the last model of a series."""

    @abstractmethod
    def _models_of_sites(self, sites: Iterable[str]) -> dict[str, ArrayRecord]:
        """Return the model that each of these sites is to score; a site that is missing is not asked."""

    @abstractmethod
    def _save_state(self, server_round: int) -> dict[str, Any]:
        """Write the state of the strategy after a round, and return what the event of the round says of it."""

    @abstractmethod
    def _restore(self, last: Event) -> None:
        """Load models and state after the last round that is done, whose event is given."""

    @abstractmethod
    def _add_scores(self, server_round: int, answers: Mapping[str, Metrics]) -> dict[str, Any]:
        """Add the scores of the models of a round, of which at least one has a patient, and return them for the history."""

    @abstractmethod
    def _replay_scores(self, server_round: int, event: Event) -> None:
        """Add the scores of the models of a round that an event holds."""

    def _measure_round(self) -> None:  # noqa: B027
        """Measure the contributions of the sites to a round: of none, unless an arm says otherwise."""

    def _drop_untrained(self) -> None:  # noqa: B027
        """Drop the series that hold no result of training, once the last round is done: none, unless an arm says otherwise."""

    def _record_test(self, model: dict[str, Any], answers: Mapping[str, Metrics]) -> None:
        own, external = part_external(self._study, answers)
        self._run.history.append({"event": "test", "arm": self.name, "model": model} | self._test_event(own) | external)

    def _test_event(self, answers: Mapping[str, Metrics]) -> dict[str, Any]:
        """Return the results of a test, by site and merged."""
        return test_results(self._study, answers)

    # The loop.

    def _run_round(self, server_round: int) -> None:
        started = time.monotonic()
        grid, strategy = self._federation.grid, self._strategy
        self._federation.admit()
        self._add_series()
        self._federation.record_missing(strategy.min_available_nodes)
        config = ConfigRecord({records.ARM: self.name, records.ROUND: server_round, records.RUN: self._run.path.name})
        config[records.EXCHANGE] = records.new_exchange_id()
        outgoing = strategy.configure_train(server_round, self._arrays, config, grid)
        replies = grid.send_and_receive(outgoing, timeout=self._study.strategy.deadline)
        event: dict[str, Any] = {"event": "round", "arm": self.name, "round": server_round, "rounds": self._rounds}
        try:
            arrays, trained = strategy.aggregate_train(server_round, replies)
            _check_min_patients(strategy.last_round, self._study.strategy.min_patients)
        except QuorumError:
            failed = {"sites": _site_entries(strategy.last_round), "seconds": time.monotonic() - started}
            self._run.history.append(event | failed)
            raise
        self._arrays = arrays if arrays is not None else self._arrays
        event |= {"sites": _site_entries(strategy.last_round), "train": dict(trained.items()) if trained else {}}
        event |= {"bytes-up": strategy.last_round.bytes_up, "bytes-down": strategy.last_round.bytes_down}
        self._complete_round(server_round, event, started)

    def _complete_round(self, server_round: int, event: Event, started: float) -> None:
        """Write what a round has made, its event last: with the event the round is done, without it the round is repeated."""
        answers = {site: entry["metrics"] for site, entry in event["sites"].items() if entry["status"] == "ok"}
        self._trained_sites |= answers.keys()
        if self._strategy.has_common_start:
            event |= self._record_scores(server_round - 1, answers)
        for name in self._series:
            self._series.save(name, server_round, self._model_of_series(name))
        event |= self._save_state(server_round)
        event["seconds"] = time.monotonic() - started
        self._measure_round()
        self._run.history.append(event)
        self._last_round = server_round
        self._series.mark_complete(server_round)
        self._series.prune()  # now that the history has the event of the newer models
        if self._needs_own_evaluation(server_round):
            self._evaluate_idle_sites(server_round)

    def _add_series(self) -> None:
        self._series.add(self._series_names(self._federation.sites.values()))

    def _evaluate_idle_sites(self, server_round: int) -> None:
        """Have the models of a round scored by the sites that are not busy with training."""
        self._evaluate_models(server_round, set(self._federation.sites.values()) - self._strategy.busy_sites())

    def _evaluate_models(self, server_round: int, sites: Iterable[str]) -> None:
        """Have the models of a round scored in an exchange of their own: the last ones, and those no training reply scores."""
        answers = self._federation.evaluate(self._models_of_sites(sites), "validation", self.name, server_round)
        entries = {site: {"metrics": values} for site, values in answers.items()}
        event = {"event": "scored", "arm": self.name, "round": server_round, "sites": entries}
        self._run.history.append(event | self._record_scores(server_round, answers))

    def _record_scores(self, server_round: int, answers: Mapping[str, Metrics]) -> dict[str, Any]:
        """Add the scores of the models of a round, and return them for the history."""
        valid = {site: values for site, values in answers.items() if self._has_valid_metrics(site, values)}
        if not any(values[records.EVAL_PATIENTS] for values in valid.values()):
            return {"score": None}
        return self._add_scores(server_round, valid)

    def _has_valid_metrics(self, site: str, values: Metrics) -> bool:
        """Say whether the metrics of a site are those that the study asks for; if not, record that they are left out."""
        try:
            metrics.check(self._study, values)
        except ExchangeError as refusal:
            self._federation.record_failure(site, "validation", describe_refusal(refusal))
            return False
        return True

    def _replay_round(self, event: Event, joined: Iterable[str]) -> None:
        """Take over what the event of a round says; `joined` are the sites that had joined by then."""
        self._series.add(self._series_names(joined))
        self._last_round = int(event["round"])
        self._trained_sites |= {site for site, entry in event["sites"].items() if entry["status"] == "ok"}
        self._replay_scores(self._last_round - 1, event)
        self._series.mark_complete(self._last_round)

    def _needs_own_evaluation(self, server_round: int) -> bool:
        """Say whether the model of a round is scored in an exchange of its own, as the replies score other models."""
        is_due = server_round % self._study.evaluation.every == 0 and server_round < self._rounds
        return is_due and not self._strategy.has_common_start

    def _is_finished(self) -> bool:
        patience = self._study.strategy.patience
        return self._last_round >= self._rounds or bool(patience and self._series.has_stalled(self._last_round, patience))


def _check_min_patients(record: RoundRecord, min_patients: int) -> None:
    """Raise QuorumError ``TOO-FEW-PATIENTS`` when the counted replies are of fewer patients than the study asks for."""
    counts = [reply.metrics.get(records.TRAIN_PATIENTS) for reply in record.counted]
    patients = sum(count for count in counts if isinstance(count, int))
    if patients < min_patients:
        what = f"round {record.round}: the counted replies are of {patients} patients, the study asks for {min_patients}."
        raise QuorumError("TOO-FEW-PATIENTS", f"{what} {record.reasons()}".strip(), "Wait for more sites, then resume the run.")


def _site_entries(record: RoundRecord) -> dict[str, dict[str, Any]]:
    """Return for the history what became of the reply of every site, its share of the weight, and the cases that were used."""
    total = math.fsum(reply.weight for reply in record.counted)
    return {
        reply.site: {
            "status": reply.status,
            "reason": reply.reason,
            "weight": reply.weight,
            "share": reply.weight / total if reply.status == "ok" and total else None,
            "used": reply.metrics.get(records.TRAIN_SAMPLES) if reply.status == "ok" else None,
            "excluded": reply.excluded,
            "metrics": reply.metrics,
        }
        for reply in sorted(record.replies, key=lambda r: r.site)
    }


def finite_or_none(score: float) -> float | None:
    """Return a score, None for one that is not finite, which JSON cannot hold."""
    return score if math.isfinite(score) else None
