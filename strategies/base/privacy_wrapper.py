"""Flower's wrappers for central differential privacy: what a strategy inside one must keep to, or the noise is too small.

Such a wrapper clips every reply to a norm C and adds noise of ``noise_multiplier * C / num_sampled_clients`` to each value of
the new model. That hides a site only in a mean of at least that many replies of equal weight, and only values that take noise.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from types import FrameType
from typing import Any

from flwr.serverapp import strategy as flower

from medfl.errors import ExchangeError, QuorumError
from medfl.messages.models import Tensors
from medfl.messages.records import RoundRecord

_WRAPPERS = (
    flower.DifferentialPrivacyClientSideAdaptiveClipping,
    flower.DifferentialPrivacyClientSideFixedClipping,
    flower.DifferentialPrivacyServerSideAdaptiveClipping,
    flower.DifferentialPrivacyServerSideFixedClipping,
)
_STEPS = ("aggregate_train", "start_model", "begin_round", "add_reply", "finish_round", "new_tensor")  # that make the model


def find_planned_replies(strategy: object) -> int:
    """Return the number of replies for which a wrapper around a strategy plans its noise; 0 when there is no wrapper.

    To be called within the strategy's `configure_train`. The wrapper does not make itself known, so it is looked for among the
    callers: no further than their `configure_train`, as looking into a frame keeps what is in it.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_name == "configure_train":
        owner: Any = frame.f_locals.get("self")
        if isinstance(owner, _WRAPPERS) and owner.strategy is strategy:
            return int(owner.num_sampled_clients)
        frame = frame.f_back
    return 0


def check_release(kind: type, mean: type, model: Tensors, buffers: Collection[str]) -> None:
    """Refuse what the noise of a wrapper does not hide, before the first round.

    Parameters
    ----------
    kind, mean : type
        The strategy, and the one that makes the weighted mean, from which it must not differ in what it makes of replies.
    model : mapping of str to ndarray
        The model that is sent.
    buffers : collection of str
        Names of its buffers.

    Raises
    ------
    ExchangeError
        ``PRIVACY-RULE`` when the strategy is no plain mean; ``PRIVACY-BUFFERS`` when the model has buffers, whose noise would
        make variances negative, or tensors of integers, which take no noise.
    """
    if any(getattr(kind, step) is not getattr(mean, step) for step in _STEPS):
        raise ExchangeError(
            "PRIVACY-RULE",
            f"the noise of Flower's differential privacy is that of a mean, and {kind.__name__} makes none of the replies.",
            'Wrap FedAvg(weighted_by_key="") or FedProx.',
        )
    unfit = [name for name, tensor in model.items() if name in buffers or tensor.dtype.kind != "f"]
    if unfit:
        raise ExchangeError(
            "PRIVACY-BUFFERS",
            f"{len(unfit)} tensors, the first is {unfit[0]!r}, are running statistics, other buffers or counters: clipping and "
            "noise for differential privacy would spoil them, and without noise they would not be private.",
            "Keep BatchNorm layers at the sites and do not send them, or use GroupNorm.",
        )


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
