"""MOON at the hospital: the network shall see in an image what the received model sees, not what the last one here saw."""

from __future__ import annotations

import copy
import math
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.networks.arrays import get_arrays, load_arrays
from medfl.clients.tasks.inference import forward
from medfl.clients.training.devices import Device
from medfl.clients.training.loop import train_steps
from medfl.clients.training.task import StepHooks, TrainResult, TrainTask
from medfl.messages.records import TRAIN_LOSS

_STATE_NAME = "moon"
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class MoonClient(ClientAlgorithm):
    """Model-contrastive learning (Li et al. 2021, https://arxiv.org/abs/2103.16257, Algorithm 1, equations 3 and 4).

    The loss gets ``mu * -log(e^(s_glob / t) / (e^(s_glob / t) + e^(s_prev / t)))``, where s are the cosines between the
    representation of an image by the network in training and those by the received model and by the model that this site
    trained the last time. In the first round, and wherever there is no such model, nothing is added.

    The representation is what `BottleneckHook` hears. The paper puts a projection of two layers before the last one; here the
    network stays the study's own. The two fixed models are in evaluation mode, so that they draw no random numbers.

    Parameters
    ----------
    mu : float
        Weight of the term; with 0 training is FedAvg's, to the last bit.
    temperature : float
        The paper's tau.
    """

    def __init__(self, mu: float = 1.0, temperature: float = 0.5) -> None:
        self._mu, self._temperature = mu, temperature

    def train(self, work: TrainTask) -> TrainResult:
        """Train with the term, and keep the model for the next time, whether or not the server will count it."""
        last = work.require_state().load(_STATE_NAME)
        if last is None or self._mu == 0:
            update = super().train(work)
        else:
            received, previous = _frozen_copy(work.net), _frozen_copy(work.net)
            load_arrays(previous, last)
            with ContrastiveHooks(work.net, received, previous, self._mu, self._temperature, work.require_device()) as terms:
                loss = train_steps(work, work.net, terms)
            update = TrainResult(get_arrays(work.net), {TRAIN_LOSS: loss})
        work.require_state().save(_STATE_NAME, update.arrays)
        return update


class ContrastiveHooks(StepHooks):
    """The model-contrastive term.

    Parameters
    ----------
    net, received, previous : torch.nn.Module
        Alike but for their weights; the first is trained, the others stay.
    mu, temperature : float
        As for `Moon`.
    place : Device
        Precision of the fixed models.
    """

    def __init__(
        self, net: nn.Module, received: nn.Module, previous: nn.Module, mu: float, temperature: float, place: Device
    ) -> None:
        self._mu, self._temperature, self._device = mu, temperature, place
        self._ours, self._theirs = BottleneckHook(net), {BottleneckHook(each): each for each in (received, previous)}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ours.close()

    def compute_loss(self, net: nn.Module, images: Tensor, labels: Tensor, logits: Tensor, loss: Tensor) -> Tensor:
        """Return the loss and the term, the mean over the batch."""
        with torch.no_grad(), self._device.autocast():
            for fixed in self._theirs.values():
                forward(fixed, images)
        ours = self._ours.representation()
        nearer, farther = (F.cosine_similarity(ours, listener.representation(), dim=1) for listener in self._theirs)
        # -log(e^a / (e^a + e^b)) = log(1 + e^(b - a))
        return loss + self._mu * F.softplus((farther - nearer) / self._temperature).mean()


class BottleneckHook:
    """Hear the representation of a batch while a network works: the input of the last layer at its coarsest level.

    Only convolutions and linear layers are listened to. In a classifier the coarsest level is behind the pooling, and the
    input of the last layer is what the paper takes. In a segmentation network it is the bottleneck: the input of the first
    layer on the way up (for a MONAI UNet with what its skip connection adds), and is averaged over space. The features before
    the last convolution would be a poor choice there: in MONAI's UNet they have as few channels as there are classes.

    Parameters
    ----------
    net : torch.nn.Module
        What to listen to, until `close`.
    """

    def __init__(self, net: nn.Module) -> None:
        self._min_positions, self._input = math.inf, torch.empty(0)
        layers = [layer for layer in net.modules() if isinstance(layer, _LAYERS)]
        self._hooks = [net.register_forward_pre_hook(self._reset)]
        self._hooks += [layer.register_forward_pre_hook(self._capture) for layer in layers]

    def close(self) -> None:
        """Leave the network as it was: it serves for other messages, too."""
        for hook in self._hooks:
            hook.remove()

    def representation(self) -> Tensor:
        """Return the representation of the last batch, float32 (B, features)."""
        heard, self._input = self._input, torch.empty(0)
        return heard.float().flatten(2).mean(2) if heard.ndim > 2 else heard.float()

    def _reset(self, net: nn.Module, inputs: Any) -> None:
        self._min_positions = math.inf

    def _capture(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(layer, nn.Linear) and inputs[0].ndim > 2:
            return  # of tokens, whose axes lie in another order
        positions = math.prod(inputs[0].shape[2:])
        if positions <= self._min_positions:
            self._min_positions, self._input = positions, inputs[0]


def _frozen_copy(net: nn.Module) -> nn.Module:
    return copy.deepcopy(net).eval().requires_grad_(False)
