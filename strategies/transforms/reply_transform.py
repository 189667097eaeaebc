"""What can be put between the wire and any strategy: it changes, or refuses, each update before the strategy counts it."""

from __future__ import annotations

from collections.abc import Mapping

from medfl.messages.models import Tensor, Tensors
from medfl.strategies.reply import Reply


class ReplyTransform:
    """A step that every training reply goes through; this one changes nothing.

    Strategies take several, ``FedAvg(wrappers=(Int8(), ClipNorm(3.0)))``, and hand each reply through them in this order: from
    the wire inwards. A wrapper knows nothing of the strategy behind it, so it stacks on all.
    """

    needs_norms = False
    """Whether `judge` wants the norms of all updates; then the replies of a round wait on disk until all are there."""

    def begin_round(self, server_round: int, sent: Tensors) -> None:
        """Get ready for the replies of a round.

        Parameters
        ----------
        server_round : int
            From 1.
        sent : mapping of str to ndarray
            The model that was sent out.
        """

    def transform(self, reply: Reply) -> Reply:
        """Return a reply as the next step is to see it, or raise ExchangeError to have it left out.

        Parameters
        ----------
        reply : Reply
            What the site changed is to be measured from its `start`, which may be another model than the round's.
        """
        return reply

    def reject(self, norms: Mapping[str, float]) -> dict[str, str]:
        """Return the sites whose replies are to be left out, with the reason as ``[CODE] sentence``.

        Parameters
        ----------
        norms : mapping of str to float
            Euclidean norm of the update of each site, as `transform` left it.
        """
        return {}

    def state(self) -> dict[str, Tensor]:
        """Return what the next round needs to know of the earlier ones, for a run that is resumed."""
        return {}

    def restore(self, state: Tensors) -> None:
        """Take back what `state` gave."""
