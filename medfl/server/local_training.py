"""Local arm: every site trains a model of its own and exchanges nothing, the baseline of a comparison."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from flwr.app import ArrayRecord

from medfl import metrics
from medfl.messages import records
from medfl.messages.records import Metrics
from medfl.runs import Event
from medfl.server.federation import Federation
from medfl.server.training import ArmTrainer, finite_or_none
from medfl.strategies.local_only import LocalOnly


class LocalTraining(ArmTrainer):
    """Train one model for each site. As many sites must be there as for training together, but each fails by itself.

    Parameters
    ----------
    federation : Federation
        The sites.
    initial : ArrayRecord
        The model that each site starts from.
    """

    name: ClassVar[str] = "local"

    def __init__(self, federation: Federation, initial: ArrayRecord) -> None:
        study = federation.study
        self._local = LocalOnly(
            min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=federation.quorum, wait=study.strategy.wait
        )
        super().__init__(federation, self._local, initial)
        self._local.begin_run(federation.sites)

    def chosen_models(self) -> dict[str, int]:
        """Return the round of the chosen model of each site that has one; the models are in the folder of the run."""
        return {name: series.best_round for name, series in self._series.items()}

    def _series_names(self, sites: Iterable[str]) -> Iterable[str]:
        return sites

    def _model_of_series(self, name: str) -> ArrayRecord:
        return self._local.site_model(name)

    def _models_of_sites(self, sites: Iterable[str]) -> dict[str, ArrayRecord]:
        return {site: self._local.site_model(site) for site in sites if site in self._series}

    def _save_state(self, server_round: int) -> dict[str, Any]:
        return {}  # the state of the strategy are the models of the sites, which are saved as series

    def _restore(self, last: Event) -> None:
        trained = [name for name in self._series if name in self._trained_sites]
        models = {site: self._series.load(site, self._last_round).arrays for site in trained}
        self._local.restore({f"own/{site}/{name}": x for site, model in models.items() for name, x in model.items()})

    def _drop_untrained(self) -> None:
        """Drop the series of sites of which no reply counted: their model is still the initial one."""
        self._series.keep_only(self._trained_sites)

    def _add_scores(self, server_round: int, answers: Mapping[str, Metrics]) -> dict[str, Any]:
        scores = {site: metrics.headline(self._study, m) for site, m in answers.items() if m[records.EVAL_PATIENTS]}
        for site, score in scores.items():
            self._series.add_score(site, server_round, score)
        return {"scores": {site: finite_or_none(score) for site, score in scores.items()}}

    def _replay_scores(self, server_round: int, event: Event) -> None:
        for site, score in event.get("scores", {}).items():
            if score is not None:
                self._series.add_score(site, server_round, float(score))
