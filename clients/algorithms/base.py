"""Plain local training: the half of every algorithm that adds nothing at the hospital, and the base of those that do."""

from __future__ import annotations

from medfl.clients.networks.arrays import exchange_arrays
from medfl.clients.training.loop import fit
from medfl.clients.training.task import Terms, Update, Work
from medfl.messages.models import Tensors
from medfl.messages.records import TRAIN_LOSS


class Half:
    """Train the received model for a round and give it back.

    Others override `terms`, for what is added to each step, or `train`, for what is done around the steps.
    """

    def train(self, work: Work) -> Update:
        """Do the work of one training message.

        Parameters
        ----------
        work : Work
            Its network holds the received model, on the device.
        """
        loss = fit(work, work.net, self.terms(work))
        return Update(exchange_arrays(work.net), {TRAIN_LOSS: loss})

    def terms(self, work: Work) -> Terms:
        """Return what is added to each step."""
        return Terms()

    def personal(self, work: Work) -> Tensors:
        """Return the site's own model as it stands before the round: the whole received one, as the site completes it."""
        return work.received
