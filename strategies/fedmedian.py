"""The coordinate-wise median: up to half of the sites may send anything at all."""

from __future__ import annotations

from medfl.aggregate import DiskReplies, median
from medfl.messages.models import Tensor
from medfl.strategies.base.disk_strategy import DiskStrategy


class FedMedian(DiskStrategy):
    """Coordinate-wise median (Yin et al. 2018, Algorithm 1 option I, https://arxiv.org/abs/1803.01498).

    Every weight of the model is the median of what the sites sent, for an even number of sites the mean of the middle two.
    The sizes of the sites do not count, so none can win by claiming to be large; one or two replies give their mean, which
    withstands nothing. The same bits as Flower's class of this name for floating-point tensors; Flower turns integer tensors
    into floats, here they keep their type.

    Parameters
    ----------
    **options
        As for `FedAvg`; the weights count for the mean metrics only.
    """

    def aggregate(self, spool: DiskReplies) -> dict[str, Tensor]:
        return median(spool)
