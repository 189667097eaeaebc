"""Way of the replies of a round: from the exchange through all transforms, and those that pass on to the strategy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from flwr.app import Message

from medfl.errors import ExchangeError
from medfl.messages.exchange import CheckedReply, Exchange
from medfl.messages.models import Tensor, Tensors
from medfl.messages.records import array_views
from medfl.messages.replies import describe_refusal, read_arrays
from medfl.strategies.base.reply import Reply
from medfl.strategies.transforms.reply_filter import ReplyFilter
from medfl.strategies.transforms.reply_transform import ReplyTransform

TRANSFORM_STATE = "wrapper-"  # begins the names of the transforms' state in a checkpoint; their number follows


@dataclass(frozen=True)
class ReplyPipeline:
    """The transforms of a strategy, in the order in which each reply goes through them.

    Parameters
    ----------
    transforms : sequence of ReplyTransform
        From the wire inwards.
    buffers : collection of str
        Names of the buffers of the model.
    """

    transforms: Sequence[ReplyTransform]
    buffers: Collection[str] = ()

    def check_buffers(self) -> None:
        """Raise ``CODEC-BUFFERS`` when the model has buffers and a transform would not leave them whole."""
        spoiling = [type(transform).__name__ for transform in self.transforms if not transform.takes_buffers]
        if self.buffers and spoiling:
            raise ExchangeError(
                "CODEC-BUFFERS",
                f"the model has {len(self.buffers)} tensors of running statistics or other buffers, and {spoiling[0]} loses "
                "precision, which may turn a variance negative.",
                "Keep BatchNorm layers at the sites and do not send them, use another normalisation, or send whole models.",
            )

    def begin_round(self, server_round: int, sent: Tensors) -> None:
        """Have every transform get ready for the replies of a round."""
        for transform in self.transforms:
            transform.begin_round(server_round, sent)

    def take(
        self,
        exchange: Exchange,
        replies: Iterable[Message],
        weighted_by_key: str,
        start_model: Callable[[str], Tensors],
        add: Callable[[Reply], None],
        sent: Tensors,
    ) -> None:
        """Take the replies one by one through the transforms and add each; replies that are compared wait on disk first.

        Parameters
        ----------
        exchange : Exchange
            Checks the replies, and records why one is left out.
        replies : iterable of Message
            The replies, in the order of arrival.
        weighted_by_key : str
            Metric that holds the weight of a reply; empty when all weigh the same.
        start_model : callable
            Returns the model that a site started from, given its name.
        add : callable
            Adds a reply to the aggregate, or raises ExchangeError and changes nothing.
        sent : mapping of str to ndarray
            The model that was sent out.
        """
        filters = [transform for transform in self.transforms if transform.needs_norms]
        with ReplyFilter(filters, sent, self.buffers) if filters else nullcontext() as waiting:
            keep = waiting.add if waiting else add
            for received in exchange.receive(replies, weighted_by_key):
                try:
                    keep(self._transform(received, weighted_by_key, start_model))
                except ExchangeError as refusal:
                    exchange.refuse(received.site, describe_refusal(refusal))
                del received  # or it would stay in memory while the next one is fetched
            if waiting:
                _add_accepted(exchange, waiting, add)

    def state(self) -> dict[str, Tensor]:
        """Return what the transforms need in the next round, by name, for a run that is resumed."""
        return {f"{TRANSFORM_STATE}{k}.{name}": x for k, t in enumerate(self.transforms) for name, x in t.state().items()}

    def restore(self, state: Tensors) -> None:
        """Give the transforms back what `state` returned; other names are left alone."""
        for k, transform in enumerate(self.transforms):
            prefix = f"{TRANSFORM_STATE}{k}."
            transform.restore({name.removeprefix(prefix): x for name, x in state.items() if name.startswith(prefix)})

    def _transform(self, received: CheckedReply, weighted_by_key: str, start_model: Callable[[str], Tensors]) -> Reply:
        """Read a reply and return it as the last transform leaves it, or raise ExchangeError."""
        if received.weight == 0:
            raise ExchangeError("WEIGHT-ZERO", f"the weight {weighted_by_key!r} is 0: nothing was trained.")
        model, extra = read_arrays(received.content)
        start = start_model(received.site)
        reply = Reply(received.site, array_views(model), received.weight, received.metrics, extra, start, self.buffers)
        for transform in self.transforms:
            reply = transform.transform(reply)
        return reply


def _add_accepted(exchange: Exchange, waiting: ReplyFilter, add: Callable[[Reply], None]) -> None:
    """Add the replies that have waited on disk, but for those that a transform rejects."""
    for site, reason in waiting.reject().items():
        exchange.refuse(site, reason)
    for reply in waiting.accepted():
        try:
            add(reply)
        except ExchangeError as refusal:
            exchange.refuse(reply.site, describe_refusal(refusal))
