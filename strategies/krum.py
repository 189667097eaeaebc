"""Krum: the model becomes the one reply that is closest to its neighbours."""

from __future__ import annotations

from typing import Any

from medfl.strategies.multikrum import MultiKrum


class Krum(MultiKrum):
    """Krum (Blanchard et al. 2017, section 3, https://arxiv.org/abs/1703.02757): `MultiKrum` that keeps a single reply.

    The model is that of one site, so robustness costs accuracy where sites differ.

    Parameters
    ----------
    malicious : int
        The paper's f: how many bad sites there may be; above 0 a round needs 2 f + 3 replies.
    **options
        As for `FedAvg`. The mean metrics are over all counted replies.
    """

    def __init__(self, *, malicious: int = 1, **options: Any) -> None:
        super().__init__(malicious=malicious, keep=1, **options)
