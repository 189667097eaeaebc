"""Base of reply transforms: steps between the wire and any strategy, which change or refuse a reply before it is counted."""

from __future__ import annotations

from collections.abc import Mapping

from medfl.messages.models import Tensor, Tensors
from medfl.strategies.base.reply import Reply


class ReplyTransform:
    """A step that every training reply goes through; this one changes nothing.

    A strategy takes several, ``FedAvg(transforms=(Int8(), ClipNorm(3.0)))``, and each reply goes through them in this order,
    from the wire inwards. A transform knows nothing of the strategy, so it works with all of them.
    """

    distinguishes_buffers = False
    """Whether it treats buffers (running statistics) and parameters differently."""

    takes_buffers = True
    """Whether it leaves buffers whole; a model that has some is refused otherwise."""

    only_shortens = False
    """Whether all that it does is to shorten updates, leave replies out, or look on. Others are refused under differential
    privacy, where a transform comes after the clipping. A class that overrides `transform` must say it anew."""

    needs_norms = False
    """Whether `reject` needs the norms of all updates; then the replies of a round wait on disk until all have come."""

    def begin_round(self, server_round: int, sent: Tensors) -> None:
        """Get ready for the replies of a round.

        Parameters
        ----------
        server_round : int
            The round, from 1.
        sent : mapping of str to ndarray
            The model that was sent out.
        """

    def transform(self, reply: Reply) -> Reply:
        """Return the reply for the next step, or raise ExchangeError to leave it out.

        Parameters
        ----------
        reply : Reply
            Its update is measured from its `start`, which need not be the model that was sent in this round.
        """
        return reply

    def reject(self, norms: Mapping[str, float]) -> dict[str, str]:
        """Return the sites whose replies are to be left out, each with the reason as ``[CODE] sentence``.

        Parameters
        ----------
        norms : mapping of str to float
            Euclidean norm of the update of each site, after all transforms.
        """
        return {}

    def state(self) -> dict[str, Tensor]:
        """Return what the next round needs of the earlier ones, by name, for a run that is resumed."""
        return {}

    def restore(self, state: Tensors) -> None:
        """Go on from what `state` returned."""
