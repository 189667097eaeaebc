"""Multi-Krum: the mean of the replies that are closest to their neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from logging import INFO, getLogger
from typing import ClassVar

import numpy as np
from flwr.serverapp import strategy as flower
from numpy.typing import NDArray

from medfl.aggregate import DiskReplies, combine, median, squared_distances
from medfl.errors import QuorumError
from medfl.messages.models import Tensor
from medfl.strategies.base.argument_order import in_order_of
from medfl.strategies.base.disk_strategy import DiskStrategy

_log = getLogger("flwr")


@in_order_of(flower.MultiKrum)
@dataclass(eq=False)
class MultiKrum(DiskStrategy):
    """Multi-Krum (Blanchard et al. 2017, section 4, https://arxiv.org/abs/1703.02757).

    The score of a reply is the sum of its squared distances to the n - f - 2 replies closest to it. Those with the lowest
    scores are averaged: by weight as in Flower, or evenly as in the paper with ``weighted_by_key=""``. Between equal scores the
    names of the sites decide. With f > 0 a round needs n >= 2 f + 3 replies and fails with fewer; with f = 0 nothing is
    guaranteed, and any number of replies will do.

    The results differ from those of Flower's class of this name, which has four faults: it expands the squares, so that in
    float32 the distances of updates that are small compared to the model are noise; it includes integer tensors, so that
    BatchNorm counters outweigh the weights; it takes the first of the sorted distances for that of a reply to itself; and it
    runs with too few replies without a word. Distances are over the parameters, so they say nothing of buffers (running
    statistics), which become the coordinate-wise median of all replies.

    Parameters
    ----------
    num_malicious_nodes : int
        The paper's f: how many bad sites there may be.
    num_nodes_to_select : int
        The paper's m: how many replies are averaged, at most n - f; 0 for n - f.

    Further keywords are those of `FedAvg`. The mean metrics are over all counted replies.

    Attributes
    ----------
    selected_sites : tuple of str
        Sites whose replies make up the last model.
    """

    distinguishes_buffers: ClassVar[bool] = True

    num_malicious_nodes: int = 0
    num_nodes_to_select: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_malicious_nodes < 0 or self.num_nodes_to_select < 0:
            came = f"came {self.num_malicious_nodes}, {self.num_nodes_to_select}"
            raise ValueError(f"num_malicious_nodes and num_nodes_to_select must be at least 0 ({came})")
        self.selected_sites: tuple[str, ...] = ()

    def check_sites(self, sites: int) -> None:
        """Raise ``KRUM-TOO-FEW`` when that many replies are not enough."""
        self._count_to_keep(sites)

    def aggregate(self, replies: DiskReplies) -> dict[str, Tensor]:
        sites, weights = replies.sites, replies.weights
        keep = self._count_to_keep(len(sites))
        scores = krum_scores(squared_distances(replies), self.num_malicious_nodes)
        self.selected_sites = tuple(sorted(sites[k] for k in np.argsort(scores, kind="stable")[:keep]))
        _log.log(INFO, "Krum keeps %d of %d replies: %s", keep, len(sites), ", ".join(self.selected_sites))
        total = sum(weights[site] for site in self.selected_sites)
        model = combine(replies, {site: weights[site] / total for site in self.selected_sites})
        return model | median(replies, replies.buffers)

    def _count_to_keep(self, n: int) -> int:
        """Return how many of n replies to keep."""
        f = self.num_malicious_nodes
        keep = self.num_nodes_to_select or max(1, n - f)
        if (f and n < 2 * f + 3) or keep > n - f:
            min_replies = max(2 * f + 3 if f else 1, self.num_nodes_to_select + f)
            raise QuorumError(
                "KRUM-TOO-FEW",
                f"{n} replies are too few: keeping {keep} where {f} may be bad takes {min_replies}.",
                f"Have at least {min_replies} sites answer, or expect fewer malicious ones, or keep fewer.",
            )
        return keep


def krum_scores(squares: NDArray[np.float64], malicious: int) -> NDArray[np.float64]:
    """Return the score of each reply: the sum of its squared distances to the n - f - 2 closest others, or to the closest one.

    Parameters
    ----------
    squares : ndarray
        Squared distances between the replies, shape (n, n).
    malicious : int
        The paper's f.

    Examples
    --------
    >>> krum_scores(np.square(np.subtract.outer([0.0, 1.0, 3.0, 9.0], [0.0, 1.0, 3.0, 9.0])), 0).tolist()
    [10.0, 5.0, 13.0, 100.0]
    """
    n = len(squares)
    others = squares[~np.eye(n, dtype=bool)].reshape(n, n - 1)
    scores: NDArray[np.float64] = np.sort(others, axis=1)[:, : max(1, n - malicious - 2)].sum(axis=1)
    return scores
