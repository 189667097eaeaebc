"""Plain local training: the half of every algorithm that adds nothing at the hospital, and the base of those that do."""

from __future__ import annotations

from medfl.clients.networks.arrays import get_arrays
from medfl.clients.training.loop import train_steps
from medfl.clients.training.task import StepHooks, TrainResult, TrainTask
from medfl.messages.models import Tensors
from medfl.messages.records import TRAIN_LOSS


class ClientAlgorithm:
    """Train the received model for a round and give it back.

    Others override `terms`, for what is added to each step, or `train`, for what is done around the steps.
    """

    def train(self, work: TrainTask) -> TrainResult:
        """Do the work of one training message.

        Parameters
        ----------
        work : Work
            Its network holds the received model, on the device.
        """
        loss = train_steps(work, work.net, self.step_hooks(work))
        return TrainResult(get_arrays(work.net), {TRAIN_LOSS: loss})

    def step_hooks(self, work: TrainTask) -> StepHooks:
        """Return what is added to each step."""
        return StepHooks()

    def personal_model(self, work: TrainTask) -> Tensors:
        """Return the site's own model as it stands before the round: the whole received one, as the site completes it."""
        return work.received
