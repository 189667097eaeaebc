"""FedMedian: the median of every weight, which withstands anything that fewer than half of the sites send."""

from __future__ import annotations

from dataclasses import dataclass

from medfl.aggregate import DiskReplies, median
from medfl.messages.models import Tensor
from medfl.strategies.base.disk_strategy import DiskStrategy


@dataclass(eq=False)
class FedMedian(DiskStrategy):
    """Coordinate-wise median (Yin et al. 2018, Algorithm 1 option I, https://arxiv.org/abs/1803.01498).

    Every weight of the model is the median of what the sites sent; with an even number of sites it is the mean of the middle
    two. The sizes of the sites do not count, so no site gains influence by claiming to be large. One or two replies give their
    mean, which withstands nothing. Floating-point tensors have the same bits as those of Flower's class of this name; Flower
    turns integer tensors into floats, here they keep their type.

    The keywords are those of `FedAvg`; weights affect the mean metrics only.
    """

    def aggregate(self, replies: DiskReplies) -> dict[str, Tensor]:
        return median(replies)
