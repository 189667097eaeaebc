"""Fine-tuned arm of a simulation: the federated model, trained further at each site alone.

The best round of each site is chosen on its own validation patients, and round 0, the federated model itself, may be the best.
"""

from __future__ import annotations

from collections.abc import Iterable

from medfl.messages import records
from medfl.runs import Event
from medfl.server.local_training import LocalTraining


class FineTunedTraining(LocalTraining):
    """Train one model for each site, which begins with the federated one, and test it on the patients of its own site.

    Parameters
    ----------
    federation : Federation
        The simulated sites.
    initial : ArrayRecord
        The federated model of the best round, whole.
    """

    name = "fine-tuned"

    def test(self) -> None:
        """Have every site score its own chosen model on its test patients, once, and external hospitals the model of each."""
        waiting = {name: series.best_round for name, series in self._series.items() if name not in self._tested_series}
        if not waiting:
            return
        models = {name: records.to_array_record(self._series.load(name, best).arrays) for name, best in waiting.items()}
        after = self._last_round + 1
        answers = self._federation.evaluate(models, "test", self.name, after, own_folder=True)
        for site, answer in answers.items():
            elsewhere = dict.fromkeys(self._federation.external.values(), models[site])
            external = self._federation.evaluate(elsewhere, "test", self.name, after, own_folder=True, owner=site)
            self._record_test({"round": waiting[site], "site": site}, {site: answer} | external)

    def _add_series(self) -> None:
        super()._add_series()
        if self._last_round == 0:  # a site that joins later has no model of round 0
            for name in (name for name, series in self._series.items() if not series.saved_rounds):
                self._series.save(name, 0, self._arrays)
            self._series.mark_complete(0)

    def _replay_round(self, event: Event, joined: Iterable[str]) -> None:
        if int(event["round"]) == 1:
            self._series.add(self._series_names(joined))
            self._series.mark_complete(0)
        super()._replay_round(event, joined)
