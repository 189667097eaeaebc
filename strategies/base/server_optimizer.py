"""Base of optimizers at the server, which take the mean change of the model as a gradient."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid

from medfl.messages.models import Tensor, Tensors
from medfl.messages.records import array_views
from medfl.strategies.fedavg import FedAvg
from medfl.strategies.transforms.reply_pipeline import TRANSFORM_STATE


@dataclass(eq=False)
class ServerOptimizer(FedAvg):
    """Base of FedAvgM, FedAdam, FedYogi and FedAdagrad (Reddi et al. 2021, https://arxiv.org/abs/2003.00295, Algorithm 2).

    The change of the model, ``mean of the replies - model that was sent``, takes the place of a gradient. Buffers (running
    statistics), integer and boolean tensors are those of the mean. Steps are computed in float32 or wider. The moments are part
    of `state`.

    The keywords are those of `FedAvg`.
    """

    distinguishes_buffers: ClassVar[bool] = True
    goes_beyond_mean: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._moments: dict[str, dict[str, Tensor]] = {}  # by the name of the moment, then of the tensor

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        """Choose the sites of a training round and build their messages."""
        self.server_round = server_round
        return super().configure_train(server_round, arrays, config, grid)

    def state(self) -> dict[str, Tensor]:
        """Return the moments, with the state of the transforms."""
        moments = {f"{kind}/{name}": x for kind, tensors in self._moments.items() for name, x in tensors.items()}
        return super().state() | moments

    def restore(self, state: Tensors) -> None:
        """Go on from what `state` returned."""
        super().restore(state)
        self._moments = {}
        for key, tensor in state.items():
            kind, slash, name = key.partition("/")
            if slash and not kind.startswith(TRANSFORM_STATE):
                self._moments.setdefault(kind, {})[name] = np.array(tensor)

    def get_moment(self, kind: str, name: str, like: Tensor) -> Tensor:
        """Return a moment of a tensor; zeros like a given tensor before the first round."""
        known = self._moments.get(kind, {})
        return known[name] if name in known else np.zeros_like(like)

    def set_moment(self, kind: str, name: str, value: Tensor) -> None:
        """Keep a moment of a tensor for the next round."""
        self._moments.setdefault(kind, {})[name] = np.asarray(value)

    def begin_round(self, sent: ArrayRecord) -> None:
        self._sent = array_views(sent)
        super().begin_round(sent)

    def finish_round(self) -> ArrayRecord:
        model = super().finish_round()
        del self._sent
        return model

    def new_tensor(self, name: str, mean: Tensor) -> Tensor:
        if mean.dtype.kind != "f":
            return mean
        wide = np.result_type(mean.dtype, np.float32)
        before = self._sent[name].astype(wide)
        return np.asarray(before + self.compute_step(name, mean.astype(wide) - before)).astype(mean.dtype)

    @abstractmethod
    def compute_step(self, name: str, change: Tensor) -> Tensor:
        """Return what is added to a tensor of the model, and keep the moments for the next round (`set_moment`).

        Parameters
        ----------
        name : str
            Name of the tensor.
        change : ndarray
            The paper's Delta: mean of the replies minus the model that was sent.
        """
