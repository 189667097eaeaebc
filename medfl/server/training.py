"""One way of training that a run compares: its rounds, its best model on validation patients, and its test.

After every round the model, what the strategy remembers, and then the event of the round are on the disk. A round counts as
done when its event is there; a run that broke off goes on behind the last one, from what is told of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord

from medfl import metrics
from medfl.errors import ExchangeError, QuorumError
from medfl.messages import records
from medfl.messages.records import Metrics, RoundRecord
from medfl.messages.replies import describe_refusal
from medfl.runs import Event, checkpoint_files
from medfl.runs.history import is_complete_round
from medfl.server.checkpoints import SHARED, ModelSeriesStore
from medfl.server.contribution_measures import Contributions
from medfl.server.federation import Federation
from medfl.strategies.fedavg import FedAvg
from medfl.strategies.local_only import LocalOnly
from medfl.strategies.strategy_registry import build_strategy
from medfl.study import Study


class ArmTrainer:
    """One way of training that a run compares: together, or each hospital alone.

    Parameters
    ----------
    name : {"federated", "local"}
        Which way.
    federation : Federation
        The sites.
    initial : ArrayRecord
        The model that every arm starts from.
    """

    def __init__(self, name: str, federation: Federation, initial: ArrayRecord) -> None:
        self.name, self._federation, self._study, self._run = name, federation, federation.study, federation.run
        self._arrays = initial
        alone = name == "local"
        self._strategy: FedAvg | LocalOnly = _build_local_strategy(self._study) if alone else build_strategy(self._study)
        self._strategy.site_names = federation.sites
        self._strategy.check_sites(len(federation.sites))
        self._contributions: Contributions | None = None
        if not alone and self._study.contribution.method != "none":
            self._contributions = Contributions(federation)
            self._strategy.transforms += (self._contributions.recorder,)
        self._series = ModelSeriesStore(self._run, name)
        self._last_round = 0  # round that is done
        self._has_state = False  # whether the strategy did after it, where a run was resumed
        self._is_trained = False  # and the last models are scored
        self._tested_series: set[str] = set()  # lines
        self._trained_sites: set[str] = set()  # sites that sent a model that counted

    def resume(self, events: Sequence[Event]) -> None:
        """Go back to where a run stood when it broke off.

        Parameters
        ----------
        events : sequence of dict
            The history of the run; events of other arms are passed over.

        Raises
        ------
        RunError
            ``CHECKPOINT-MISSING`` or ``CHECKPOINT-DAMAGED`` when what the history tells is no longer there.
        """
        joined: set[str] = set()
        unscored = 0  # round whose models are still to be scored in an exchange of their own
        for event in events:
            if event["event"] == "joined":
                joined.add(str(event["site"]))
            elif event.get("arm") != self.name:
                continue
            elif event["event"] == "round" and is_complete_round(event):
                self._replay_round_event(event, joined)
                unscored = self._last_round if self._needs_own_evaluation(self._last_round) else 0
            elif event["event"] == "scored":
                self._replay_scores(int(event["round"]), event)
                self._is_trained, unscored = not unscored, 0
            elif event["event"] == "test":
                self._tested_series.add(str(event["model"].get("site", SHARED)))
        if self._last_round:
            self._load_checkpoint()
            if unscored:
                self._evaluate_models(unscored, set(self._federation.sites.values()) - self._strategy.busy_sites())

    def train(self) -> None:
        """Run the rounds that are left, score the last models, and record everything."""
        self._add_model_series()
        while not self._is_trained and not self._is_finished():
            self._run_round(self._last_round + 1)
        if self.name == "local":  # the model of a site that never trained is the initial one, and no result of training
            self._series.keep_only(self._trained_sites)
        if not self._is_trained:
            self._evaluate_models(self._last_round, self._federation.sites.values())
        self._series.select_best(self._last_round)
        self._series.prune()

    def test(self) -> None:
        """Have every site score the chosen models on its test patients, once."""
        for name, line in self._series.items():
            if name in self._tested_series:
                continue
            arrays, _ = self._series.load(name, line.best_round)
            shared = name == SHARED
            chosen, after = (
                records.to_array_record(arrays),
                self._last_round + 1,
            )  # sites remember what the last scoring left, too
            answers = self._federation.evaluate(chosen, "test", self.name, after, own_folder=shared)
            model = {"round": line.best_round} | ({} if shared else {"site": name})
            self._run.history.append({"event": "test", "arm": self.name, "model": model} | self._test_event(answers))

    @property
    def best_round(self) -> int:
        """Round of the chosen shared model."""
        return self._series[SHARED].best_round

    def save_best(self) -> None:
        """Write the chosen shared model and the last one under their own names."""
        line = self._series[SHARED]
        arrays, meta = self._series.load(SHARED, line.best_round)
        checkpoint_files.save(self._run.path, "best", arrays, meta | {"score": _finite_or_none(line.best_score)})
        arrays, meta = self._series.load(SHARED, self._last_round)
        checkpoint_files.save(self._run.path, "final", arrays, meta)

    def _run_round(self, server_round: int) -> None:
        started = time.monotonic()
        grid, strategy = self._federation.grid, self._strategy
        self._federation.admit()
        self._add_model_series()
        self._federation.record_missing(strategy.min_available_nodes)
        config = ConfigRecord({records.ARM: self.name, records.ROUND: server_round, records.RUN: self._run.path.name})
        config[records.EXCHANGE] = records.new_exchange_id()
        outgoing = strategy.configure_train(server_round, self._arrays, config, grid)
        replies = grid.send_and_receive(outgoing, timeout=self._study.strategy.deadline)
        event: dict[str, Any] = {"event": "round", "arm": self.name, "round": server_round, "rounds": self._study.rounds}
        try:
            arrays, trained = strategy.aggregate_train(server_round, replies)
            _check_min_patients(strategy.last_round, self._study.strategy.min_patients)
        except QuorumError:
            self._run.history.append(
                event | {"sites": _site_entries(strategy.last_round), "seconds": time.monotonic() - started}
            )
            raise
        sites = _site_entries(strategy.last_round)
        self._arrays = arrays if arrays is not None else self._arrays
        event |= {"sites": sites, "train": dict(trained.items()) if trained else {}}
        event |= {"bytes-up": strategy.last_round.bytes_up, "bytes-down": strategy.last_round.bytes_down}
        self._finish_round(server_round, event, started)

    def _finish_round(self, server_round: int, event: Event, started: float) -> None:
        """Write what a round has made, the event of the round last: with it the round is done, and without it repeated."""
        scored = {site: told["metrics"] for site, told in event["sites"].items() if told["status"] == "ok"}
        self._trained_sites |= scored.keys()
        if self._strategy.has_common_start:
            event |= self._record_scores(server_round - 1, scored)
        for name in self._series:
            self._series.save(name, server_round, self._current_model(name))
        if not isinstance(self._strategy, LocalOnly):  # its state are the models of the sites, which are kept by line
            self._series.save_state(server_round, state := self._strategy.state())
            event["remembers"] = bool(state)
        event["seconds"] = time.monotonic() - started
        if self._contributions and (told := self._contributions.measure(self._strategy.last_round, self._arrays)):
            self._run.history.append({"arm": self.name} | told)
        self._run.history.append(event)
        self._last_round = server_round
        self._series.mark_complete(server_round)
        self._series.prune()  # now that the history tells of the newer ones
        if self._needs_own_evaluation(server_round):
            self._evaluate_models(server_round, set(self._federation.sites.values()) - self._strategy.busy_sites())

    def _add_model_series(self) -> None:
        """Begin a line for every site that joined, where each has its own."""
        self._series.add(self._federation.sites.values() if self.name == "local" else [SHARED])

    def _evaluate_models(self, server_round: int, sites: Iterable[str]) -> None:
        """Have the models of a round scored in an exchange of their own: the last ones, and those no training reply scores."""
        models = {site: self._current_model(site) for site in sites if self.name != "local" or site in self._series}
        answers = self._federation.evaluate(models, "validation", self.name, server_round)
        scored = {site: {"metrics": told} for site, told in answers.items()}
        event = {"event": "scored", "arm": self.name, "round": server_round, "sites": scored}
        self._run.history.append(event | self._record_scores(server_round, answers))

    def _record_scores(self, server_round: int, answers: Mapping[str, Metrics]) -> dict[str, Any]:
        """Note the scores of the models of a round, and return what the history tells of them."""
        sound = {site: m for site, m in answers.items() if self._has_valid_metrics(site, m)}
        present = {site: m for site, m in sound.items() if m[records.EVAL_PATIENTS]}
        if not present:
            return {"score": None}
        if self.name == "local":
            scores = {site: metrics.headline(self._study, m) for site, m in present.items()}
            for site, score in scores.items():
                self._series.add_score(site, server_round, score)
            return {"scores": {site: _finite_or_none(score) for site, score in scores.items()}}
        merged = metrics.merge(self._study, list(sound.values()))
        score = metrics.headline(self._study, merged)
        self._series.add_score(SHARED, server_round, score)
        return {"eval": merged, "derived": metrics.derive(self._study, merged), "score": _finite_or_none(score)}

    def _has_valid_metrics(self, site: str, told: Metrics) -> bool:
        """Say whether the metrics of a site are what the study asks for; if not, they are left out and that is recorded."""
        try:
            metrics.check(self._study, told)
        except ExchangeError as refusal:
            self._federation.record_failure(site, "validation", describe_refusal(refusal))
            return False
        return True

    def _test_event(self, answers: Mapping[str, Metrics]) -> dict[str, Any]:
        """Return what the history tells of a test: by site and together, of the sites' own models too where they have some."""
        sites = {site: {"metrics": m, "derived": metrics.derive(self._study, m)} for site, m in answers.items()}
        merged = metrics.merge(self._study, list(answers.values()))
        told = {"sites": sites, "eval": merged, "derived": metrics.derive(self._study, merged)}
        if self.name == "local" or not self._study.has_personal_models:
            return told
        own = {site: metrics.personal_part(m) for site, m in answers.items()}
        for site, m in own.items():
            sites[site]["personal-derived"] = metrics.derive(self._study, m)
        merged = metrics.merge(self._study, list(own.values()))
        return told | {"personal": metrics.as_personal(merged), "personal-derived": metrics.derive(self._study, merged)}

    def _replay_round_event(self, event: Event, joined: Iterable[str]) -> None:
        """Note what the event of a round tells, as when it happened; `joined` are the sites that had joined by then."""
        self._series.add(joined if self.name == "local" else [SHARED])
        self._last_round, self._has_state = int(event["round"]), bool(event.get("remembers"))
        self._trained_sites |= {site for site, told in event["sites"].items() if told["status"] == "ok"}
        self._replay_scores(self._last_round - 1, event)
        self._series.mark_complete(self._last_round)

    def _replay_scores(self, server_round: int, event: Event) -> None:
        """Note the scores that an event tells of the models of a round."""
        if event.get("score") is not None:
            self._series.add_score(SHARED, server_round, float(event["score"]))
        for site, score in event.get("scores", {}).items():
            if score is not None:
                self._series.add_score(site, server_round, float(score))

    def _load_checkpoint(self) -> None:
        """Take back the models and what the strategy remembered after the last round that is done."""
        if isinstance(self._strategy, LocalOnly):
            own = {
                name: self._series.load(name, self._last_round).arrays for name in self._series if name in self._trained_sites
            }
            self._strategy.restore({f"own/{site}/{name}": x for site, model in own.items() for name, x in model.items()})
            return
        self._arrays = records.to_array_record(self._series.load(SHARED, self._last_round).arrays)
        if self._has_state:
            self._strategy.restore(self._series.load_state(self._last_round))

    def _needs_own_evaluation(self, server_round: int) -> bool:
        """Say whether the model of a round is scored in an exchange of its own, as the replies score other models."""
        every, rounds = self._study.evaluation.every, self._study.rounds
        return not self._strategy.has_common_start and server_round % every == 0 and server_round < rounds

    def _is_finished(self) -> bool:
        patience = self._study.strategy.patience
        return self._last_round >= self._study.rounds or bool(patience and self._series.has_stalled(self._last_round, patience))

    def _current_model(self, line: str) -> ArrayRecord:
        return self._strategy.site_model(line) if isinstance(self._strategy, LocalOnly) else self._arrays


def _build_local_strategy(study: Study) -> LocalOnly:
    """Return the strategy of hospitals alone: as many have to be there as together, but each fails by itself."""
    return LocalOnly(wait=study.strategy.wait, min_available_nodes=study.quorum)


def _check_min_patients(record: RoundRecord, least: int) -> None:
    """Raise QuorumError ``TOO-FEW-PATIENTS`` when the replies that count are of fewer patients than a study asks for."""
    told = [reply.metrics.get(records.TRAIN_PATIENTS) for reply in record.counted]
    patients = sum(number for number in told if isinstance(number, int))
    if patients < least:
        what = f"round {record.round}: the replies that count are of {patients} patients, the study asks for {least}."
        raise QuorumError("TOO-FEW-PATIENTS", f"{what} {record.reasons()}".strip(), "Wait for more sites, then resume the run.")


def _site_entries(record: RoundRecord) -> dict[str, dict[str, Any]]:
    """Return what the history tells of every site of a round: what became of its reply, cases used and cases left out."""
    return {
        reply.site: {
            "status": reply.status,
            "reason": reply.reason,
            "weight": reply.weight,
            "used": reply.metrics.get(records.TRAIN_SAMPLES) if reply.status == "ok" else None,
            "excluded": reply.excluded,
            "metrics": reply.metrics,
        }
        for reply in sorted(record.replies, key=lambda r: r.site)
    }


def _finite_or_none(score: float) -> float | None:
    return score if math.isfinite(score) else None
