"""A known input and its output beside a model: random numbers, which hold nothing of any patient."""

from __future__ import annotations

import io

import numpy as np
import torch
from torch import Tensor, nn

from medfl.study import Study

_SEED = 0
_LEAST_SIDE = 16  # pixels or voxels of the input


def random_images(study: Study, *, window: bool = False) -> Tensor:
    """Return random images on the grey scale of the network, always the same: (1, C, X, Y[, Z]).

    Parameters
    ----------
    study : Study
        Gives channels, and the size where the network takes one size alone.
    window : bool
        Whether they have the size of the study's patches or images, where it has one; otherwise they are small if they may be.
    """
    size = study.training.patch or study.preprocessing.size
    needs_size = study.task.kind == "classification" or study.network.name == "unetr"
    if not (size and (window or needs_size)):
        divisors = study.network.divisors(study.task.dimension)
        # two steps of what the network halves: instance norm needs more than one voxel; axes of several sizes tell one another
        sides = [max(2 * divisor, -(-_LEAST_SIDE // divisor) * divisor) for divisor in divisors]
        sides[0] += divisors[0]
        size = tuple(sides)
    values = np.random.default_rng(_SEED).standard_normal((1, study.task.channel_count, *size), dtype=np.float32)
    return torch.from_numpy(values)


def encode_pair(net: nn.Module, images: Tensor) -> bytes:
    """Return the file of an input and its logits, ``input`` and ``logits`` in numpy's format ``.npz``."""
    with torch.inference_mode():
        logits = net(images)
    content = io.BytesIO()
    np.savez_compressed(content, input=images.numpy(), logits=logits.numpy())
    return content.getvalue()
