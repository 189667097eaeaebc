"""APFL at the hospital: a model of its own that answers in a mixture with the global one, in a share that is learnt, too."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.networks.arrays import Arrays, get_arrays
from medfl.clients.networks.tensors import to_parameters, trainable
from medfl.clients.training.batches import count_steps
from medfl.clients.training.loop import train_steps
from medfl.clients.training.losses import build_loss, class_weights
from medfl.clients.training.optimizers import build_optimizer
from medfl.clients.training.task import StepHooks, TrainResult, TrainTask
from medfl.messages.models import Tensors
from medfl.messages.records import TRAIN_LOSS, TRAIN_STEPS

_STATE_NAME = "apfl"
_ALPHA = "::alpha"  # no tensor of a network has a colon in its name


class ApflClient(ClientAlgorithm):
    """APFL (Deng et al. 2020, https://arxiv.org/abs/2003.13461, Algorithm 1), with the adaptive share of its equation 10.

    The global model w is FedAvg's, to the last bit. On the same batches a model v, which lies in the site's state and starts as
    the received one, takes steps along the gradient of the mixture: ``alpha * gradient(alpha * v + (1 - alpha) * w)``, with w
    as it is in that step. In the first step of a round, alpha goes down along ``<v - w, gradient of the mixture>``, and stays
    within 0 and 1. The site's own model is the mixture with the received model. An optimizer that scales its steps, as Adam,
    takes the factor alpha out of the steps of v again.

    Parameters
    ----------
    alpha : float
        Share of v at the start.
    adaptive : bool
        Whether the share is learnt.
    """

    def __init__(self, alpha: float = 0.5, *, adaptive: bool = True) -> None:
        self._alpha, self._adaptive = alpha, adaptive

    def train(self, work: TrainTask) -> TrainResult:
        """Train the global model, and the site's own beside it."""
        own, alpha = self._load_state(work)
        mixture = MixtureHooks(work, to_parameters(work.net, own), alpha, adaptive=self._adaptive)
        loss = train_steps(work, work.net, mixture)
        mine: Arrays = {name: tensor.detach().cpu().numpy() for name, tensor in mixture.own.items()}
        work.require_state().save(_STATE_NAME, mine | {_ALPHA: np.array(mixture.alpha)})
        steps = 2 * count_steps(work.study, len(work.prepared.get_split("train")))
        return TrainResult(get_arrays(work.net), {TRAIN_LOSS: loss, TRAIN_STEPS: steps})

    def personal_model(self, work: TrainTask) -> Tensors:
        """Return the mixture with the received model."""
        own, alpha = self._load_state(work)
        received: Tensors = work.received
        return {**received, **{name: np.asarray(alpha * v + (1.0 - alpha) * received[name]) for name, v in own.items()}}

    def _load_state(self, work: TrainTask) -> tuple[Tensors, float]:
        """Return v and alpha as the last round left them."""
        kept = work.require_state().load(_STATE_NAME)
        if kept is None:
            return {name: work.received[name] for name in trainable(work.net)}, self._alpha
        alpha = float(kept.pop(_ALPHA))
        return kept, alpha


class MixtureHooks(StepHooks):
    """Train a model beside the one of the loop, through its mixture with that one; the loop's own steps stay as they are.

    Parameters
    ----------
    work : Work
        Gives study, cases and place.
    own : mapping of str to Tensor
        The paper's v, changed in place.
    alpha : float
        Share of v.
    adaptive : bool
        Whether the first step changes the share.

    Attributes
    ----------
    own : dict of str to Parameter
        v as it stands.
    alpha : float
        The share as it stands.
    """

    def __init__(self, work: TrainTask, own: Mapping[str, Tensor], alpha: float, *, adaptive: bool) -> None:
        study, self._device = work.study, work.require_device()
        weights = class_weights(study, work.prepared.get_split("train"))
        self._loss_of = build_loss(study, None if weights is None else weights.to(self._device.torch_device))
        self.own = {name: nn.Parameter(tensor) for name, tensor in own.items()}
        self.alpha, self._updates_alpha, self._alpha_gradient = alpha, adaptive, 0.0
        self._clip_norm = study.optimizer.clip_norm
        self._optimizer = build_optimizer(study.optimizer, self.own.values())

    def compute_loss(self, net: nn.Module, images: Tensor, labels: Tensor, logits: Tensor, loss: Tensor) -> Tensor:
        """Remember the batch."""
        self._images, self._labels = images, labels
        return loss

    def adjust_gradients(self, net: nn.Module) -> None:
        """Find the gradient of the mixture on the same batch, before the model of the loop takes its step."""
        named = trainable(net)
        mixed = {
            name: torch.lerp(named[name].detach(), own.detach(), self.alpha).requires_grad_() for name, own in self.own.items()
        }
        found = torch.autograd.grad(self._mixture_loss(net, mixed), list(mixed.values()), allow_unused=True)
        slopes = []
        for (name, own), gradient in zip(self.own.items(), found, strict=True):
            own.grad = None if gradient is None else self.alpha * gradient
            if self._updates_alpha and gradient is not None:
                slopes.append(torch.sum((own.detach() - named[name].detach()) * gradient))
        self._alpha_gradient = float(torch.stack(slopes).sum()) if slopes else 0.0

    def after_step(self, net: nn.Module, learning_rate: float) -> None:
        """Let v take the step, and in the first one the share."""
        if self._clip_norm:
            nn.utils.clip_grad_norm_(self.own.values(), self._clip_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        if self._updates_alpha:
            self.alpha = min(max(self.alpha - learning_rate * self._alpha_gradient, 0.0), 1.0)
            self._updates_alpha = False

    def _mixture_loss(self, net: nn.Module, mixed: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of the mixture, with the random numbers of dropout left for the loop."""
        place = self._device
        exact = (
            nullcontext() if place.amp_dtype == torch.float16 else place.autocast()
        )  # float16 would need a scaler of its own
        with torch.random.fork_rng(devices=[place.torch_device] if place.torch_device.type == "cuda" else []), exact:
            logits: Tensor = functional_call(net, dict(mixed), (self._images,))
        return self._loss_of(logits.float(), self._labels, self.annotated)
