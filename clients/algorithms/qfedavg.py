"""q-FedAvg at the hospital: what the received model costs here, before training."""

from __future__ import annotations

import math

import numpy as np
import torch

from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.tasks.inference import forward
from medfl.clients.training.batches import iter_batches
from medfl.clients.training.loop import spawn_seed
from medfl.clients.training.losses import build_loss, class_weights
from medfl.clients.training.task import TrainResult, TrainTask
from medfl.messages.records import TRAIN_LOSS_BEFORE

_LOSS_STREAM = 7  # stream of random numbers for the batches that the loss is taken on


class QFedAvgClient(ClientAlgorithm):
    """Tell the loss of the received model on the site's training images, then train plainly.

    The loss is the study's, over the batches of one round without augmentation, drawn by a stream of random numbers of its own.

    Parameters
    ----------
    q, lipschitz : float
        Used by the server alone.
    """

    def __init__(self, q: float = 0.2, lipschitz: float = 0.0) -> None:
        pass

    def train(self, work: TrainTask) -> TrainResult:
        """Take the loss, then train."""
        before = _initial_loss(work)
        update = super().train(work)
        return TrainResult(update.arrays, {**update.metrics, TRAIN_LOSS_BEFORE: before}, update.records)


def _initial_loss(work: TrainTask) -> float:
    study, net, place, cases = work.study, work.net, work.require_device(), work.prepared.get_split("train")
    weights = class_weights(study, cases)
    loss_of = build_loss(study, None if weights is None else weights.to(place.torch_device))
    net.eval()
    losses = []
    with torch.inference_mode(), place.autocast():
        for batch in iter_batches(study, cases, np.random.default_rng(spawn_seed(work.seed, _LOSS_STREAM))):
            logits = forward(net, batch.images.to(place.torch_device)).float()
            losses.append(float(loss_of(logits, batch.labels.to(place.torch_device), batch.annotated)))
    return math.fsum(losses) / len(losses)
