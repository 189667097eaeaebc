"""APFL at the client: the personal model is a mixture of the global model and a local one, in a proportion that adapts."""

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
from medfl.clients.training.losses import build_training_loss
from medfl.clients.training.optimizers import build_optimizer
from medfl.clients.training.task import StepHooks, TrainResult, TrainTask
from medfl.messages.models import Tensors
from medfl.messages.records import TRAIN_LOSS, TRAIN_STEPS

_STATE_NAME = "apfl"
_ALPHA = "::alpha"  # key in the saved state; no tensor of a network has a colon in its name


class ApflClient(ClientAlgorithm):
    """APFL (Deng et al. 2020, https://arxiv.org/abs/2003.13461, Algorithm 1), with alpha adapted by its equation 10.

    The global model w is trained as in FedAvg, to the last bit. On the same batches, and with w as it is in that step, a local
    model v follows the gradient of the mixture u = alpha * v + (1 - alpha) * w:

        v <- v - eta * alpha * grad F(u),        alpha <- alpha - eta * <v - w, grad F(u)>, clipped to 0 ... 1.

    v starts as the received model in the site's first round; v and alpha are kept in the site's state. The personal model is
    the mixture of v with the received model. A round takes twice the steps of FedAvg.

    What differs from the paper:

    - alpha is adapted once a round, in its first step.
    - v is trained by the study's optimizer; one that normalises its steps, such as Adam, cancels the factor alpha in them.

    Parameters
    ----------
    alpha : float
        Proportion of v in the mixture, at the start.
    adaptive : bool
        Whether alpha adapts.
    """

    def __init__(self, alpha: float = 0.5, *, adaptive: bool = True) -> None:
        self._alpha, self._adaptive = alpha, adaptive

    def train(self, task: TrainTask) -> TrainResult:
        """Train the global model, and on the same batches the local one."""
        local, alpha = self._load_state(task)
        mixture = MixtureHooks(task, to_parameters(task.net, local), alpha, adaptive=self._adaptive)
        loss = train_steps(task, task.net, mixture)
        trained: Arrays = {name: tensor.detach().cpu().numpy() for name, tensor in mixture.local.items()}
        task.state.save(_STATE_NAME, trained | {_ALPHA: np.array(mixture.alpha)})
        steps = 2 * count_steps(task.study, len(task.prepared.get_split("train")))
        return TrainResult(get_arrays(task.net), {TRAIN_LOSS: loss, TRAIN_STEPS: steps})

    def personal_model(self, task: TrainTask) -> Tensors:
        """Return the mixture with the received model."""
        local, alpha = self._load_state(task)
        received: Tensors = task.received
        return {**received, **{name: np.asarray(alpha * v + (1.0 - alpha) * received[name]) for name, v in local.items()}}

    def _load_state(self, task: TrainTask) -> tuple[Tensors, float]:
        """Return v and alpha after the last round."""
        saved = task.state.load(_STATE_NAME)
        if saved is None:
            return {name: task.received[name] for name in trainable(task.net)}, self._alpha
        alpha = float(saved.pop(_ALPHA))
        return saved, alpha


class MixtureHooks(StepHooks):
    """Hooks that train a local model through its mixture with the model of the loop, whose own steps stay unchanged.

    Parameters
    ----------
    task : TrainTask
        Gives study, cases and device.
    local : mapping of str to Tensor
        The paper's v, changed in place.
    alpha : float
        Proportion of v in the mixture.
    adaptive : bool
        Whether the first step adapts alpha.

    Attributes
    ----------
    local : dict of str to Parameter
        v after the steps taken so far.
    alpha : float
        alpha after the steps taken so far.
    """

    def __init__(self, task: TrainTask, local: Mapping[str, Tensor], alpha: float, *, adaptive: bool) -> None:
        study, self._device = task.study, task.device
        self._loss_of = build_training_loss(study, task.prepared.get_split("train"), self._device.torch_device)
        self.local = {name: nn.Parameter(tensor) for name, tensor in local.items()}
        self.alpha, self._updates_alpha, self._alpha_gradient = alpha, adaptive, 0.0
        self._clip_norm = study.optimizer.clip_norm
        self._optimizer = build_optimizer(study.optimizer, self.local.values())

    def compute_loss(self, net: nn.Module, images: Tensor, labels: Tensor, logits: Tensor, loss: Tensor) -> Tensor:
        """Remember the batch."""
        self._images, self._labels = images, labels
        return loss

    def adjust_gradients(self, net: nn.Module) -> None:
        """Compute the gradient of the mixture on the same batch, before the model of the loop takes its step."""
        named = trainable(net)
        mixed = {
            name: torch.lerp(named[name].detach(), v.detach(), self.alpha).requires_grad_() for name, v in self.local.items()
        }
        gradients = torch.autograd.grad(self._mixture_loss(net, mixed), list(mixed.values()), allow_unused=True)
        slopes = []
        for (name, v), gradient in zip(self.local.items(), gradients, strict=True):
            v.grad = None if gradient is None else self.alpha * gradient
            if self._updates_alpha and gradient is not None:
                slopes.append(torch.sum((v.detach() - named[name].detach()) * gradient))
        self._alpha_gradient = float(torch.stack(slopes).sum()) if slopes else 0.0

    def after_step(self, net: nn.Module, learning_rate: float) -> None:
        """Step v, and in the first step of a round alpha."""
        if self._clip_norm:
            nn.utils.clip_grad_norm_(self.local.values(), self._clip_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        if self._updates_alpha:
            self.alpha = min(max(self.alpha - learning_rate * self._alpha_gradient, 0.0), 1.0)
            self._updates_alpha = False

    def _mixture_loss(self, net: nn.Module, mixed: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of the mixture; dropout draws the same random numbers as in the loop and leaves them for it."""
        device = self._device
        # float16 would need a scaler of its own
        precision = nullcontext() if device.amp_dtype == torch.float16 else device.autocast()
        with torch.random.fork_rng(devices=[device.torch_device] if device.torch_device.type == "cuda" else []), precision:
            logits: Tensor = functional_call(net, dict(mixed), (self._images,))
        return self._loss_of(logits.float(), self._labels, self.annotated)
