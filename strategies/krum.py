"""Krum: the model becomes the one reply that is closest to its neighbours."""

from __future__ import annotations

from dataclasses import dataclass, field

from flwr.serverapp import strategy as flower

from medfl.strategies.base.argument_order import in_order_of
from medfl.strategies.multikrum import MultiKrum


@in_order_of(flower.Krum)
@dataclass(eq=False)
class Krum(MultiKrum):
    """Krum (Blanchard et al. 2017, section 3, https://arxiv.org/abs/1703.02757): `MultiKrum` that keeps a single reply.

    The parameters are those of one site, so robustness costs accuracy where sites differ.

    Parameters
    ----------
    num_malicious_nodes : int
        The paper's f: how many bad sites there may be; above 0 a round needs 2 f + 3 replies.

    Further keywords are those of `FedAvg`. The mean metrics are over all counted replies.
    """

    num_nodes_to_select: int = field(default=1, init=False)
