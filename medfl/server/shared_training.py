"""An arm in which all sites share one model: it is scored on the patients of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flwr.app import ArrayRecord

from medfl import metrics
from medfl.messages import records
from medfl.messages.records import Metrics
from medfl.runs import Event
from medfl.server.checkpoints import SHARED
from medfl.server.training import ArmTrainer, finite_or_none


class SharedTraining(ArmTrainer):
    """Train one model, whose score on the validation patients of all sites chooses its best round."""

    @property
    def best_round(self) -> int:
        """Round of the chosen model."""
        return self._series[SHARED].best_round

    def _series_names(self, sites: Iterable[str]) -> Iterable[str]:
        return [SHARED]

    def _model_of_series(self, name: str) -> ArrayRecord:
        return self._arrays

    def _models_of_sites(self, sites: Iterable[str]) -> dict[str, ArrayRecord]:
        return dict.fromkeys(sites, self._arrays)

    def _save_state(self, server_round: int) -> dict[str, Any]:
        state = self._strategy.state()
        self._series.save_state(server_round, state)
        return {"remembers": bool(state)}

    def _restore(self, last: Event) -> None:
        self._arrays = records.to_array_record(self._series.load(SHARED, self._last_round).arrays)
        if last.get("remembers"):
            self._strategy.restore(self._series.load_state(self._last_round))

    def _add_scores(self, server_round: int, answers: Mapping[str, Metrics]) -> dict[str, Any]:
        merged = metrics.merge(self._study, list(answers.values()))
        score = metrics.headline(self._study, merged)
        self._series.add_score(SHARED, server_round, score)
        return {"eval": merged, "derived": metrics.derive(self._study, merged), "score": finite_or_none(score)}

    def _replay_scores(self, server_round: int, event: Event) -> None:
        if event.get("score") is not None:
            self._series.add_score(SHARED, server_round, float(event["score"]))
