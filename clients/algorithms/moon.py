"""MOON at the client: representations are drawn to the received model's and away from the previous local model's."""

from __future__ import annotations

import copy
import math
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.networks.arrays import get_arrays, load_arrays
from medfl.clients.training.devices import Device
from medfl.clients.training.forward import forward
from medfl.clients.training.loop import train_steps
from medfl.clients.training.task import StepHooks, TrainResult, TrainTask
from medfl.messages.records import TRAIN_LOSS

_STATE_NAME = "moon"
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class MoonClient(ClientAlgorithm):
    """MOON, model-contrastive learning (Li et al. 2021, https://arxiv.org/abs/2103.16257, Algorithm 1, equations 3 and 4).

    For the representation z of an image by the network in training, z_glob by the received model and z_prev by the model that
    this site trained the last time, the loss of the image is

        F_k + mu * -log(exp(sim(z, z_glob) / tau) / (exp(sim(z, z_glob) / tau) + exp(sim(z, z_prev) / tau))),

    where sim is the cosine similarity. In a site's first round there is no z_prev, and training is FedAvg's.

    What differs from the paper:

    - The paper inserts a projection head of two layers before the last layer and takes its output as z. Here the network stays
      the study's own: z is the input of its last layer or, in a segmentation network, its bottleneck (`BottleneckHook`).
    - The two fixed models are in evaluation mode, so that they draw no random numbers.

    Parameters
    ----------
    mu : float
        Weight of the contrastive term; with 0, training is FedAvg's to the last bit.
    temperature : float
        The paper's tau.
    """

    def __init__(self, mu: float = 1.0, temperature: float = 0.5) -> None:
        self._mu, self._temperature = mu, temperature

    def train(self, task: TrainTask) -> TrainResult:
        """Train with the contrastive term, and save the model for the next time, whether or not the server counts it."""
        last = task.state.load(_STATE_NAME)
        if last is None or self._mu == 0:
            result = super().train(task)
        else:
            received, previous = _frozen_copy(task.net), _frozen_copy(task.net)
            load_arrays(previous, last)
            with ContrastiveHooks(task.net, received, previous, self._mu, self._temperature, task.device) as hooks:
                loss = train_steps(task, task.net, hooks)
            result = TrainResult(get_arrays(task.net), {TRAIN_LOSS: loss})
        task.state.save(_STATE_NAME, result.arrays)
        return result


class ContrastiveHooks(StepHooks):
    """The model-contrastive term of MOON's loss.

    Parameters
    ----------
    net, received, previous : torch.nn.Module
        Networks that differ in their weights alone; the first is trained, the others are fixed.
    mu, temperature : float
        As for `MoonClient`.
    device : Device
        Precision of the fixed models.
    """

    def __init__(
        self, net: nn.Module, received: nn.Module, previous: nn.Module, mu: float, temperature: float, device: Device
    ) -> None:
        self._mu, self._temperature, self._device = mu, temperature, device
        self._trained, self._fixed = BottleneckHook(net), {BottleneckHook(each): each for each in (received, previous)}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._trained.close()

    def compute_loss(self, net: nn.Module, images: Tensor, labels: Tensor, logits: Tensor, loss: Tensor) -> Tensor:
        """Return the loss plus the term, the latter as the mean over the batch."""
        with torch.no_grad(), self._device.autocast():
            for model in self._fixed.values():
                forward(model, images)
        z = self._trained.representation()
        to_received, to_previous = (F.cosine_similarity(z, hook.representation(), dim=1) for hook in self._fixed)
        # -log(e^a / (e^a + e^b)) = log(1 + e^(b - a))
        return loss + self._mu * F.softplus((to_previous - to_received) / self._temperature).mean()


class BottleneckHook:
    """Hooks that capture the representation of a batch in a forward pass: the input of the last layer at the coarsest level.

    Convolutions and linear layers count as layers. In a classifier the coarsest level comes after the pooling, so this is the
    input of the last layer, as in the paper. In a segmentation network it is the bottleneck, averaged over space: the input of
    the first layer of the decoder (in MONAI's UNet together with what the skip connection adds). The input of the last
    convolution would be a poor choice there: in MONAI's UNet it has only as many channels as there are classes.

    Parameters
    ----------
    net : torch.nn.Module
        The network to hook, until `close`.
    """

    def __init__(self, net: nn.Module) -> None:
        self._min_positions, self._input = math.inf, torch.empty(0)
        layers = [layer for layer in net.modules() if isinstance(layer, _LAYERS)]
        self._hooks = [net.register_forward_pre_hook(self._reset)]
        self._hooks += [layer.register_forward_pre_hook(self._capture) for layer in layers]

    def close(self) -> None:
        """Remove the hooks: the network serves further messages."""
        for hook in self._hooks:
            hook.remove()

    def representation(self) -> Tensor:
        """Return the representation of the last batch, float32 (B, features)."""
        features, self._input = self._input.float(), torch.empty(0)
        return features.flatten(2).mean(2) if features.ndim > 2 else features

    def _reset(self, net: nn.Module, inputs: Any) -> None:
        self._min_positions = math.inf

    def _capture(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(layer, nn.Linear) and inputs[0].ndim > 2:
            return  # a layer over tokens, whose axes have another order
        positions = math.prod(inputs[0].shape[2:])
        if positions <= self._min_positions:
            self._min_positions, self._input = positions, inputs[0]


def _frozen_copy(net: nn.Module) -> nn.Module:
    return copy.deepcopy(net).eval().requires_grad_(False)
