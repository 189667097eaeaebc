"""Federated arm: all sites train one model together, by the strategy that the study names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flwr.app import ArrayRecord

from medfl import metrics
from medfl.messages.records import Metrics, to_array_record
from medfl.runs import checkpoint_files
from medfl.runs.model_file import describe_model
from medfl.server.checkpoints import SHARED, whole_model
from medfl.server.contribution_measures import Contributions
from medfl.server.federation import Federation
from medfl.server.share_limit import ShareLimit
from medfl.server.shared_training import SharedTraining
from medfl.server.training import finite_or_none
from medfl.strategies.strategy_registry import build_strategy


class FederatedTraining(SharedTraining):
    """Train one shared model, and measure what each site contributes to it where the study asks for that.

    Parameters
    ----------
    federation : Federation
        The sites.
    initial : ArrayRecord
        The model to start from.
    """

    name = "federated"

    def __init__(self, federation: Federation, initial: ArrayRecord) -> None:
        super().__init__(federation, build_strategy(federation.study, federation.quorum), initial)
        self._contributions = Contributions(federation) if self._study.contribution.method != "none" else None
        if self._study.strategy.max_share < 1:
            self._strategy.weight_limit = ShareLimit(federation)
        self._strategy.begin_run(federation.sites, [self._contributions.recorder] if self._contributions else [])

    def best_model(self) -> ArrayRecord:
        """Read the chosen model: the tensors that travel."""
        return to_array_record(self._series.load(SHARED, self.best_round).arrays)

    def save_best(self) -> None:
        """Write the chosen model and the last one under their own names."""
        series = self._series[SHARED]
        self._save_as("best", series.best_round, {"score": finite_or_none(series.best_score)})
        self._save_as("final", self._last_round, {})

    def _save_as(self, name: str, server_round: int, about: dict[str, Any]) -> None:
        trained, meta = self._series.load(SHARED, server_round)
        arrays = whole_model(self._run, self.name, trained)
        described = describe_model(self._study, list(arrays), {key: meta[key] for key in ("arm", "site", "round")} | about)
        checkpoint_files.save(self._run.path, name, arrays, meta | about, described)

    def _measure_round(self) -> None:
        if self._contributions and (event := self._contributions.measure(self._strategy.last_round, self._arrays)):
            self._run.history.append({"arm": self.name} | event)

    def _test_event(self, answers: Mapping[str, Metrics]) -> dict[str, Any]:
        """Return the results of a test, those of the sites' personal models too where they have some."""
        event = super()._test_event(answers)
        if not self._study.has_personal_models:
            return event
        personal = {site: metrics.personal_part(values) for site, values in answers.items()}
        for site, values in personal.items():
            event["sites"][site]["personal-derived"] = metrics.derive(self._study, values)
        merged = metrics.merge(self._study, list(personal.values()))
        return event | {"personal": metrics.as_personal(merged), "personal-derived": metrics.derive(self._study, merged)}
