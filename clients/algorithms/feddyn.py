"""FedDyn at the hospital: a spring whose anchor moves against all that the site has drifted so far."""

from __future__ import annotations

import numpy as np

from medfl.clients.algorithms.base import Half
from medfl.clients.networks.arrays import exchange_arrays
from medfl.clients.networks.tensors import Spring, beside, common, kept_when_counted, trained
from medfl.clients.training.loop import fit
from medfl.clients.training.task import Update, Work
from medfl.messages.records import TRAIN_LOSS

_NAME = "feddyn"


class FedDyn(Half):
    """FedDyn (Acar et al. 2021, https://arxiv.org/abs/2111.04263, Algorithm 1).

    The loss gets ``-<g_k, w> + alpha / 2 * |w - w_t|^2``, and then ``g_k <- g_k - alpha * (w_k - w_t)``. What is kept is the
    drift d_k = -g_k / alpha, the sum of all changes that the site ever made in replies that counted; the two terms together
    are, but for a constant, a spring of strength alpha to w_t - d_k. Any optimiser will do: the paper asks for the minimum,
    not for a way to it. Layers that stay at the site train plainly.

    The drift goes to the site's disk under this round. The next time the site starts from the drift of the round that the
    server says it counted last: see `medfl.clients.algorithms.scaffold`, where the same holds of the control variate.

    Parameters
    ----------
    alpha : float
        Strength of the spring.
    """

    def __init__(self, alpha: float = 0.01) -> None:
        self._alpha = alpha

    def train(self, work: Work) -> Update:
        """Train on the moved spring, and add this round's change to the drift."""
        received = common(work)
        start = {name: received[name] for name in trained(work.net) if name in received}
        kept = kept_when_counted(work, _NAME)
        drift = {name: kept.get(name, np.zeros_like(tensor)) for name, tensor in start.items()}
        anchor = beside(work.net, {name: start[name] - drift[name] for name in start})
        loss = fit(work, work.net, Spring(self._alpha, anchor))
        arrays = exchange_arrays(work.net)
        work.remembered().save(_NAME, {name: np.asarray(drift[name] + arrays[name] - start[name]) for name in start})
        return Update(arrays, {TRAIN_LOSS: loss})
