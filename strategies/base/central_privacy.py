"""Flower's wrappers for central differential privacy: what a strategy inside one must keep to, or the noise is too small.

Such a wrapper clips every reply to a norm C and adds noise of ``noise_multiplier * C / num_sampled_clients`` to each value of
the new model. That hides a site only in a mean of at least that many replies of equal weight, and only values that take noise.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from medfl.errors import ExchangeError, QuorumError
from medfl.messages.models import Tensors
from medfl.messages.records import RoundRecord
from medfl.strategies.base.reply import Reply
from medfl.strategies.transforms.reply_transform import ReplyTransform

_STEPS = ("start_model", "begin_round", "add_reply", "finish_round", "new_tensor")  # that make the model of a round


def check_release(
    kind: type, mean: type, transforms: Sequence[ReplyTransform], model: Tensors, buffers: Collection[str]
) -> None:
    """Refuse what the noise of a wrapper does not hide, before the first round.

    Parameters
    ----------
    kind, mean : type
        The strategy, and the one that makes the weighted mean, from which it must not differ in what it makes of replies. A
        method around these steps, such as an `aggregate_train` that saves the model, is the business of who wrote it.
    transforms : sequence of ReplyTransform
        What replies go through after the wrapper has clipped them.
    model : mapping of str to ndarray
        The model that is sent.
    buffers : collection of str
        Names of its buffers.

    Raises
    ------
    ExchangeError
        ``PRIVACY-RULE`` when the strategy is no plain mean, or a transform may lengthen updates; ``PRIVACY-BUFFERS`` when the
        model has buffers, whose noise would make variances negative, or tensors of integers, which take no noise.
    """
    if any(getattr(kind, step) is not getattr(mean, step) for step in _STEPS):
        raise ExchangeError(
            "PRIVACY-RULE",
            f"the noise of Flower's differential privacy is that of a mean, and {kind.__name__} makes none of the replies.",
            'Wrap FedAvg(weighted_by_key="") or FedProx.',
        )
    lengthening = [type(transform).__name__ for transform in transforms if not _says_that_it_shortens(type(transform))]
    if lengthening:
        raise ExchangeError(
            "PRIVACY-RULE",
            "the noise of Flower's differential privacy is for updates of at most its clipping norm, and transforms come after "
            f"the clipping: {lengthening[0]} may lengthen them again.",
            "Leave this transform out; those that only shorten updates or leave them out, such as ClipNorm, may stay.",
        )
    unfit = [name for name, tensor in model.items() if name in buffers or tensor.dtype.kind != "f"]
    if unfit:
        raise ExchangeError(
            "PRIVACY-BUFFERS",
            f"{len(unfit)} tensors, the first is {unfit[0]!r}, are running statistics, other buffers or counters: clipping and "
            "noise for differential privacy would spoil them, and without noise they would not be private.",
            "Keep BatchNorm layers at the sites and do not send them, or use GroupNorm.",
        )


def _says_that_it_shortens(kind: type[ReplyTransform]) -> bool:
    """Return `only_shortens` as it was said of the method that changes replies: not by a base whose method is overridden."""
    writer = next(each for each in kind.__mro__ if "transform" in vars(each))
    return kind.only_shortens and any("only_shortens" in vars(each) for each in kind.__mro__ if issubclass(each, writer))


class OrderCheck(ReplyTransform):
    """Leave out a reply whose tensors come in another order than the model's: a wrapper clips by place, a mean goes by name."""

    def transform(self, reply: Reply) -> Reply:
        """Return the reply as it is, or raise ``MODEL-MISMATCH``."""
        if list(reply.arrays) != list(reply.start):
            raise ExchangeError(
                "MODEL-MISMATCH",
                "the tensors of the reply are not those of the model in its order, in which differential privacy clips them.",
                "Send the arrays in the order in which they came.",
            )
        return reply


def check_noise(record: RoundRecord, planned: int) -> None:
    """Raise ``PRIVACY-NOISE`` unless the counted replies of a round are as many as planned, and of equal weight."""
    weights: Sequence[float] = [reply.weight for reply in record.counted]
    if len(weights) < planned:
        raise QuorumError(
            "PRIVACY-NOISE",
            f"round {record.round}: {len(weights)} replies count, and the noise of the differential privacy is for {planned}: "
            f"nothing is released. Left out: {record.reasons() or 'none'}.",
            "Repair the sites that were left out, or set 'num_sampled_clients' to the replies that will surely come.",
        )
    if len(set(weights)) > 1:
        raise QuorumError(
            "PRIVACY-NOISE",
            f"round {record.round}: the replies have unequal weights, and the noise of the differential privacy is for equal "
            "ones: nothing is released.",
            'Set weighted_by_key="".',
        )
