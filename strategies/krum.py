"""Krum: the one reply that lies closest to its neighbours."""

from __future__ import annotations

from typing import Any

from medfl.strategies.multikrum import MultiKrum


class Krum(MultiKrum):
    """Krum (Blanchard et al. 2017, section 3, https://arxiv.org/abs/1703.02757): `MultiKrum` that keeps one reply, as it is.

    The model is that of one hospital, so what it withstands is paid for where hospitals differ.

    Parameters
    ----------
    malicious : int
        The paper's f: how many bad sites there may be; above 0 a round needs 2 f + 3 replies.
    **options
        As for `FedAvg`. The mean metrics are those of all counted replies.
    """

    def __init__(self, *, malicious: int = 1, **options: Any) -> None:
        super().__init__(malicious=malicious, keep=1, **options)
