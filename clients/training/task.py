"""The hospital's half of an algorithm: what it does with a model besides plain training.

A half is made for one study and keeps nothing between messages: what must last goes through `Work.state` to the site's disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from medfl.clients.networks.arrays import Arrays
from medfl.clients.training.client_state import ClientState
from medfl.clients.training.devices import Device
from medfl.clients.training.partial_labels import AnnotatedClasses
from medfl.data.store.prepared_data import PreparedData
from medfl.errors import ExchangeError
from medfl.messages.records import Metrics
from medfl.site import Site
from medfl.study import Study


@dataclass(frozen=True, eq=False)
class TrainTask:
    """What one training message asks of a site, with everything that is needed to do it.

    Parameters
    ----------
    study : Study
        Says how, and how much.
    site : Site
        Gives the device.
    prepared : Prepared
        The site's cases.
    net : torch.nn.Module
        Built by `build_network` for this study. When a half gets it, it holds `received`, on the device of `place`.
    received : mapping of str to ndarray
        The whole model to start from: what the server sent, with the site's own layers where some stay here.
    server_round : int
        From 1; the learning rate goes on across rounds.
    seed : int
        Of all that is random in this round at this site, not negative.
    device : Device, optional
        Device and precision; there once training begins.
    records : mapping of str to mapping of str to ndarray
        What the server sent beside the model, by the name of the record.
    state : SiteState, optional
        What the site remembers.
    arm : str
        Arm of the comparison.
    """

    study: Study
    site: Site
    prepared: PreparedData
    net: nn.Module
    received: Mapping[str, NDArray[np.generic]]
    server_round: int
    seed: int
    device: Device | None = None
    records: Mapping[str, Mapping[str, NDArray[np.generic]]] = field(default_factory=dict)
    state: ClientState | None = None
    arm: str = "federated"

    def require_state(self) -> ClientState:
        """Return the state; ``STATE-MISSING`` where nothing can be remembered."""
        if self.state is None:
            raise ExchangeError("STATE-MISSING", "this algorithm needs a run with a name, and the server told none.")
        return self.state

    def require_device(self) -> Device:
        """Return the place, which is there once training begins."""
        assert self.device is not None
        return self.device


@dataclass(frozen=True, eq=False)
class TrainResult:
    """What a half gives back.

    Parameters
    ----------
    arrays : dict of str to ndarray
        The trained tensors, as `get_arrays` orders them.
    metrics : dict
        Further ``train.*`` metrics, the same keys at every site; ``train.loss`` at least. ``train.steps`` when they are
        not those of plain training.
    records : dict of str to dict of str to ndarray
        What goes to the server beside the model.
    """

    arrays: Arrays
    metrics: Metrics
    records: Mapping[str, Arrays] = field(default_factory=dict)


class StepHooks:
    """What an algorithm adds to the loss and the gradients of each step; this one adds nothing.

    Attributes
    ----------
    annotated : sequence of tuple of int
        Classes that were looked for in each image of the batch at hand, an empty tuple for all; told before `loss` is asked.
    """

    annotated: AnnotatedClasses = ()

    def compute_loss(self, net: nn.Module, images: Tensor, labels: Tensor, logits: Tensor, loss: Tensor) -> Tensor:
        """Return the loss to go down on.

        Parameters
        ----------
        net : torch.nn.Module
            As it trains.
        images, labels, logits : Tensor
            Of the batch; logits float32.
        loss : Tensor
            The study's loss, a scalar.
        """
        return loss

    def adjust_gradients(self, net: nn.Module) -> None:
        """Change the gradients in place: unscaled, before they are clipped."""

    def after_step(self, net: nn.Module, learning_rate: float) -> None:
        """Look at the network after a step of this learning rate."""
