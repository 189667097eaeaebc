"""Local training: every site keeps its own model, the baseline that shows whether federating was worth it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from medfl.errors import RunError
from medfl.messages.models import Tensor, Tensors, layout_of, validate_arrays
from medfl.messages.records import array_views, to_array_record
from medfl.strategies.base.reply import Reply
from medfl.strategies.fedavg import FedAvg


@dataclass(eq=False)
class LocalOnly(FedAvg):
    """Send each site its own model back in every round, and never mix the models.

    Rounds, seeds, checks of replies and quorum are as in `FedAvg`, so that any difference between the two is the effect of
    federating. A site whose reply is left out goes on with the model that it had. The models of all sites are in memory, which
    grows with their number.

    Parameters
    ----------
    weighted_by_key : str
        Metric that holds the weight of a site in the mean metrics of a round; empty when all weigh the same.

    Further keywords are those of `FedAvg`.
    """

    weighted_by_key: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._site_models: dict[str, ArrayRecord] = {}
        self._initial: ArrayRecord | None = None

    def site_model(self, site: str) -> ArrayRecord:
        """Return the last model of a site: the initial one before its first counted reply.

        Raises
        ------
        RunError
            ``NO-MODEL`` when no round has begun.
        """
        arrays = self._site_models.get(site, self._initial)
        if arrays is None:
            raise RunError("NO-MODEL", "no model was sent yet.", "Run a round, or set the models with `restore`.")
        return arrays

    def state(self) -> dict[str, Tensor]:
        """Return the models of all sites, with the state of the transforms."""
        own = {f"own/{site}/{name}": x for site, model in self._site_models.items() for name, x in array_views(model).items()}
        return super().state() | own

    def restore(self, state: Tensors) -> None:
        """Go on from what `state` returned."""
        super().restore(state)
        models: dict[str, dict[str, Tensor]] = {}
        for key, tensor in state.items():
            if key.startswith("own/"):
                _, site, name = key.split("/", 2)
                models.setdefault(site, {})[name] = tensor
        self._site_models = {site: to_array_record(model) for site, model in models.items()}

    def message_contents(self, nodes: Mapping[int, str], arrays: ArrayRecord, config: ConfigRecord) -> dict[int, RecordDict]:
        return {
            node: RecordDict({self.arrayrecord_key: self._site_models.get(site, arrays), self.configrecord_key: config})
            for node, site in nodes.items()
        }

    def start_model(self, site: str, sent: Tensors) -> Tensors:
        return array_views(self.site_model(site))

    def begin_round(self, sent: ArrayRecord) -> None:
        self._initial = sent
        self._layout = layout_of(array_views(sent))

    def add_reply(self, reply: Reply) -> None:
        self._site_models[reply.site] = to_array_record(validate_arrays(reply.arrays, self._layout))

    def finish_round(self) -> ArrayRecord:
        """Return the model that the round began with: there is no common one."""
        assert self._initial is not None
        return self._initial
