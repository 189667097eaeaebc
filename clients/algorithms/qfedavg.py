"""q-FedAvg at the client: the loss of the received model on the training images is measured before training."""

from __future__ import annotations

import math

import numpy as np
import torch

from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.training.batches import iter_batches
from medfl.clients.training.forward import forward
from medfl.clients.training.losses import build_training_loss
from medfl.clients.training.seeds import spawn_seed
from medfl.clients.training.task import TrainResult, TrainTask
from medfl.messages.records import TRAIN_LOSS_BEFORE

_LOSS_STREAM = 7  # number of the stream of random numbers that draws the batches for the loss


class QFedAvgClient(ClientAlgorithm):
    """q-FedAvg (Li et al. 2020, https://arxiv.org/abs/1905.10497, Algorithm 2): report F_k(w_t), then train plainly.

    The server weighs the update of site k by F_k(w_t)^q, the loss of the received model on the site's training images, so
    that sites with a large loss count more (`medfl.strategies.qfedavg`). All that the client adds is this number.

    What differs from the paper: the loss is the study's, estimated over the batches of one round without augmentation. Random
    batches are drawn from a stream of their own, so that training is FedAvg's to the last bit.

    Parameters
    ----------
    q, lipschitz : float
        Used by the server alone.
    """

    def __init__(self, q: float = 0.2, lipschitz: float = 0.0) -> None:
        pass

    def train(self, task: TrainTask) -> TrainResult:
        """Measure the loss, then train."""
        before = _initial_loss(task)
        result = super().train(task)
        return TrainResult(result.arrays, {**result.metrics, TRAIN_LOSS_BEFORE: before}, result.records)


def _initial_loss(task: TrainTask) -> float:
    study, net, device, cases = task.study, task.net, task.device, task.prepared.get_split("train")
    loss_of = build_training_loss(study, cases, device.torch_device)
    net.eval()
    losses = []
    with torch.inference_mode(), device.autocast():
        for batch in iter_batches(study, cases, np.random.default_rng(spawn_seed(task.seed, _LOSS_STREAM))):
            logits = forward(net, batch.images.to(device.torch_device)).float()
            losses.append(float(loss_of(logits, batch.labels.to(device.torch_device), batch.annotated)))
    return math.fsum(losses) / len(losses)
