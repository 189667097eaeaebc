"""Inference by several models together: the mean of their class probabilities, of each image or of each voxel."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from medfl.clients.networks.arrays import load_arrays
from medfl.clients.tasks.inference import Predictor, predict
from medfl.clients.training.devices import Device
from medfl.messages.models import Tensors
from medfl.runs.low_rank_arrays import fold_low_rank
from medfl.study import Study

Models = Callable[[], Iterable[Tensors]]  # reads the models anew, one after the other


def build_mean_predictor(study: Study, net: nn.Module, device: Device, models: Models) -> Predictor:
    """Return a predictor whose logits are the logarithm of the mean of the models' probabilities.

    The models are read for every group of images, and one of them is in memory at a time.

    Parameters
    ----------
    study, device
        As for `medfl.clients.tasks.inference.predict`.
    net : torch.nn.Module
        Network in evaluation mode, on `device`. Its weights are overwritten.
    models : callable
        Returns the models, at least one.
    """

    def predict_mean(images: Tensor, overlap: float) -> Tensor:
        total, count = torch.zeros(()), 0
        for arrays in models():
            load_arrays(net, fold_low_rank(study, arrays))
            logits = predict(study, net, device, images, overlap)
            with torch.inference_mode():
                total = torch.softmax(logits, 1) + total.to(logits.device)
            count += 1
        with torch.inference_mode():
            return (total / count).clamp_min(torch.finfo(torch.float32).tiny).log()

    return predict_mean
