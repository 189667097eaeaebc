"""Plain local training: the client algorithm of every strategy that adds nothing at a site, and the base of all others."""

from __future__ import annotations

from medfl.clients.networks.arrays import get_arrays
from medfl.clients.training.loop import train_steps
from medfl.clients.training.task import StepHooks, TrainResult, TrainTask
from medfl.messages.models import Tensors
from medfl.messages.records import TRAIN_LOSS


class ClientAlgorithm:
    """Local training as in FedAvg (McMahan et al. 2017, https://arxiv.org/abs/1602.05629): train the received model, return it.

    Subclasses override `step_hooks`, to add something to the loss or the gradients of each step, or `train`, to do something
    before, after or instead of the steps. An instance serves one message and keeps nothing: what must last until the next round
    goes to `TrainTask.state`, on the site's own disk.
    """

    def train(self, task: TrainTask) -> TrainResult:
        """Train for one round.

        Parameters
        ----------
        task : TrainTask
            Its network holds the received model, on its device.
        """
        loss = train_steps(task, task.net, self.step_hooks(task))
        return TrainResult(get_arrays(task.net), {TRAIN_LOSS: loss})

    def step_hooks(self, task: TrainTask) -> StepHooks:
        """Return what is added to each step."""
        return StepHooks()

    def personal_model(self, task: TrainTask) -> Tensors:
        """Return the personal model before the round: the received model with the site's own layers, unless overridden."""
        return task.received
