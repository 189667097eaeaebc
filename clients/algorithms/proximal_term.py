"""The proximal term, which several algorithms add to the loss: it keeps the model near another one."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from medfl.clients.networks.tensors import trainable
from medfl.clients.training.task import StepHooks


class ProximalTerm(StepHooks):
    """The proximal term ``strength / 2 * |w - anchor|^2`` of the loss.

    Its gradient ``strength * (w - anchor)`` is added to that of the loss, which is the same and needs no graph. The reported
    loss is the study's alone.

    Parameters
    ----------
    strength : float
        Weight of the term, not negative.
    anchor : mapping of str to Tensor
        One tensor for each parameter; parameters that are not named are not in the term.
    """

    def __init__(self, strength: float, anchor: Mapping[str, Tensor]) -> None:
        self._strength, self._anchor = strength, anchor

    def adjust_gradients(self, net: nn.Module) -> None:
        """Add the gradient of the term."""
        named = trainable(net)
        for name, anchor in self._anchor.items():
            parameter = named[name]
            if parameter.grad is not None:
                parameter.grad.add_(parameter.detach() - anchor, alpha=self._strength)
