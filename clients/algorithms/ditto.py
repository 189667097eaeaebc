"""Ditto at the hospital: a model of its own beside the global one, on a spring to it."""

from __future__ import annotations

from medfl.clients.algorithms.base import Half
from medfl.clients.networks.arrays import exchange_arrays, load_arrays
from medfl.clients.networks.tensors import Spring, beside
from medfl.clients.training.loop import fit
from medfl.clients.training.sampling import steps_of
from medfl.clients.training.task import Update, Work
from medfl.messages.models import Tensors
from medfl.messages.records import TRAIN_STEPS

_NAME = "ditto"


class Ditto(Half):
    """Ditto (Li et al. 2021, https://arxiv.org/abs/2012.04221, Algorithm 1 and equation 2).

    The global model is FedAvg's, to the last bit. Then the site's own model v, in its first round the received one, takes as
    many steps along ``gradient + strength * (v - w)``, where w is the model as it came. It lies in the site's state.

    Parameters
    ----------
    strength : float
        The paper's lambda; with 0 the site trains v alone.
    """

    def __init__(self, strength: float = 0.1) -> None:
        self._strength = strength

    def train(self, work: Work) -> Update:
        """Train the global model, then the site's own."""
        own, net = self.personal(work), work.net
        update = super().train(work)
        load_arrays(net, own)
        fit(work, net, Spring(self._strength, beside(net, work.received)), phase=1)
        trained = exchange_arrays(net)
        work.remembered().save(_NAME, trained)
        steps = 2 * steps_of(work.study, len(work.prepared.split("train")))
        return Update(update.arrays, {**update.metrics, TRAIN_STEPS: steps})

    def personal(self, work: Work) -> Tensors:
        """Return v."""
        return work.remembered().load(_NAME) or work.received
