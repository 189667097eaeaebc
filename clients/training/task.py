"""Values that pass between a node, the training loop and a client algorithm: what is to be done, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from medfl.clients.networks.arrays import Arrays
from medfl.clients.training.client_state import ClientState
from medfl.clients.training.devices import Device, choose_device
from medfl.clients.training.partial_labels import AnnotatedClasses
from medfl.data.store.prepared_data import PreparedData
from medfl.errors import ExchangeError
from medfl.messages.records import Metrics
from medfl.site import Site
from medfl.study import Study


@dataclass(frozen=True, eq=False)
class TrainTask:
    """The work that one training message asks of a site, with everything that is needed to do it.

    Parameters
    ----------
    study : Study
        The study; says how to train, and for how long.
    site : Site
        The site that trains.
    prepared : PreparedData
        The site's cases.
    net : torch.nn.Module
        Built by `build_network` for this study. When a client algorithm gets the task, it holds `received`, on `device`.
    received : mapping of str to ndarray
        The whole model to start from: what the server sent, completed with the site's own layers where some stay there.
    server_round : int
        Number of the round, from 1; the learning rate schedule continues across rounds.
    seed : int
        Seed of everything random in this round at this site, not negative.
    state : ClientState
        What the site keeps on its own disk from round to round.
    records : mapping of str to mapping of str to ndarray
        What the server sent along with the model, by the name of the record.
    arm : str
        Arm of the comparison, one of `medfl.study.arms.ARMS`.
    pooled_counts : tuple of int
        Training cases of each site, where `prepared` holds those of several in one place; empty otherwise.
    """

    study: Study
    site: Site
    prepared: PreparedData
    net: nn.Module
    received: Mapping[str, NDArray[np.generic]]
    server_round: int
    seed: int
    state: ClientState
    records: Mapping[str, Mapping[str, NDArray[np.generic]]] = field(default_factory=dict)
    arm: str = "federated"
    pooled_counts: tuple[int, ...] = ()

    @property
    def case_counts(self) -> tuple[int, ...]:
        """Number of training cases of each site whose cases are trained on."""
        return self.pooled_counts or (len(self.prepared.get_split("train")),)

    @cached_property
    def device(self) -> Device:
        """Device and precision, as study and site decide them; ``DEVICE-MISSING`` where the machine lacks it."""
        return choose_device(self.study, self.site)

    def server_record(self, name: str) -> Mapping[str, NDArray[np.generic]]:
        """Return a record that the server sent along with the model.

        Raises
        ------
        ExchangeError
            ``RECORD-MISSING``.
        """
        if name not in self.records:
            what = f"the server sent no record {name!r} with the model."
            raise ExchangeError(
                "RECORD-MISSING", what, "Server and sites must run the same study and the same version of medfl."
            )
        return self.records[name]


@dataclass(frozen=True, eq=False)
class TrainResult:
    """The result of training for one round.

    Parameters
    ----------
    arrays : dict of str to ndarray
        The trained tensors, as `get_arrays` orders them.
    metrics : dict
        The ``train.*`` metrics, with the same keys at every site. A client algorithm returns ``train.loss`` at least, and
        ``train.steps`` if it takes other steps than plain training; `medfl.clients.session.train` adds the rest.
    records : mapping of str to dict of str to ndarray
        What goes to the server along with the model, by the name of the record.
    """

    arrays: Arrays
    metrics: Metrics
    records: Mapping[str, Arrays] = field(default_factory=dict)


class StepHooks:
    """Hooks into each step of the training loop: what an algorithm adds to loss and gradients. This class adds nothing.

    In a step the loop calls `compute_loss`, then, after the backward pass, `adjust_gradients`, and `after_step` last.

    Attributes
    ----------
    annotated : sequence of tuple of int
        Annotated classes of each image in the current batch, an empty tuple for all classes. Set before `compute_loss`.
    """

    annotated: AnnotatedClasses = ()

    def compute_loss(self, net: nn.Module, images: Tensor, labels: Tensor, logits: Tensor, loss: Tensor) -> Tensor:
        """Return the loss to minimise in this step.

        Parameters
        ----------
        net : torch.nn.Module
            The network in training.
        images, labels, logits : Tensor
            Tensors of the batch; logits are float32.
        loss : Tensor
            The study's loss, a scalar.
        """
        return loss

    def adjust_gradients(self, net: nn.Module) -> None:
        """Change the gradients in place. They are unscaled already, and not yet clipped."""

    def after_step(self, net: nn.Module, learning_rate: float) -> None:
        """Follow what the step did.

        Parameters
        ----------
        net : torch.nn.Module
            The network after the step.
        learning_rate : float
            Learning rate of the step.
        """
