"""Every hospital alone: the baseline that says whether federating was worth it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from medfl.errors import RunError
from medfl.records import array_views
from medfl.strategies.fedavg import FedAvg
from medfl.updates import check_finite, check_layout


class LocalOnly(FedAvg):
    """Send each site its own model back, round by round, and never mix them.

    Everything else, the rounds, the seeds, the checks of replies and the quorum, is as in `FedAvg`, so that a difference
    between the two is the effect of federating. A site whose reply is left out goes on with the model that it had. The models
    of all sites are kept in memory: it grows with their number.

    Parameters
    ----------
    weighted_by : str
        Metric that holds the weight of a site in the mean metrics of a round; empty: all weigh the same.
    **options
        As for `FedAvg`.
    """

    def __init__(self, *, weighted_by: str = "", **options: Any) -> None:
        super().__init__(weighted_by=weighted_by, **options)
        self._own: dict[str, ArrayRecord] = {}
        self._initial: ArrayRecord | None = None

    def arrays_of(self, site: str) -> ArrayRecord:
        """Return the last model of a site: the initial one before its first counted reply.

        Raises
        ------
        RunError
            ``NO-MODEL`` when no round has begun.
        """
        arrays = self._own.get(site, self._initial)
        if arrays is None:
            raise RunError("NO-MODEL", "no model was sent yet.", "Run a round, or give the models with `restore`.")
        return arrays

    def restore(self, models: Mapping[str, ArrayRecord]) -> None:
        """Go on from models that were kept, by the name of the site."""
        self._own = dict(models)

    def _contents(self, nodes: Mapping[int, str], arrays: ArrayRecord, config: ConfigRecord) -> dict[int, RecordDict]:
        return {
            node: RecordDict({self.arrayrecord_key: self._own.get(site, arrays), self.configrecord_key: config})
            for node, site in nodes.items()
        }

    def _begin(self, sent: ArrayRecord) -> None:
        self._initial = sent
        self._layout = {name: (array.shape, array.dtype) for name, array in array_views(sent).items()}

    def _take(self, site: str, arrays: ArrayRecord, weight: float) -> None:
        views = array_views(arrays)
        check_layout(views, self._layout)
        check_finite(views)
        self._own[site] = arrays

    def _finish(self) -> ArrayRecord:
        """Return the model that was handed in: there is no common one."""
        assert self._initial is not None
        return self._initial
