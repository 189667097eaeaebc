"""Forward pass of one batch, the same in training and in scoring."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medfl.clients.networks.network_builders import build_network
from medfl.clients.training.interrupts import check_interrupts
from medfl.errors import TrainingError
from medfl.study import Study


def forward(net: nn.Module, images: Tensor) -> Tensor:
    """Return the logits of one batch, after a check for a reason to stop (`medfl.clients.training.interrupts`).

    Raises
    ------
    StoppedError
        ``RUN-STOPPED`` or ``POLICY-MINUTES``.
    TrainingError
        ``NET-TOO-DEEP`` when the images are so small that instance normalisation would see a single voxel.
    """
    check_interrupts()
    try:
        logits: Tensor = net(images)
    except ValueError as error:
        if "more than 1" not in str(error):
            raise
        size = "x".join(str(n) for n in images.shape[2:])
        what = f"at a size of {size} the deepest level of the network is a single voxel, which cannot be normalised."
        fix = "Enlarge training.patch or preprocessing.size, take away a level, or set network.norm = 'group'."
        raise TrainingError("NET-TOO-DEEP", what, fix) from None
    return logits


def check_size(study: Study) -> None:
    """Check that the patches or images of a study are large enough for its network; only shapes are computed, no values.

    A study that trains on whole images of any size is not checked.

    Raises
    ------
    TrainingError
        ``NET-TOO-DEEP``.
    """
    if size := study.training.patch or study.preprocessing.size:
        net = build_network(study).train().to("meta")  # built first: some networks need values while they are built
        forward(net, torch.empty(study.training.batch_size, study.task.channel_count, *size, device="meta"))
