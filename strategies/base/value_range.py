"""Range of values: replies too far off for a rule that goes beyond their mean, and results that are not finite.

One diverged reply may be finite and yet make moments, sums or a model infinite, and then every later round is lost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from flwr.app import ArrayRecord

from medfl.errors import ExchangeError, QuorumError
from medfl.messages.models import Tensor, Tensors, flatten, iter_blocks, max_abs, max_abs_bound, out_of_range_error
from medfl.messages.records import RoundRecord, array_views
from medfl.strategies.base.reply import Reply
from medfl.strategies.transforms.reply_transform import ReplyTransform

_LIMIT = 2.0**60  # about 1e18: no network holds such a value, and its square and the sums of many fit into float32
_GROWTH = 2.0**10  # by which a model of larger values may grow in a round


class RangeCheck(ReplyTransform):
    """Leave out a reply with a value beyond 2**60, and beyond 1024 times the largest value of the model that was sent.

    Attributes
    ----------
    largest : dict of str to float
        Largest absolute value of each reply that passed, or a little more, by site.
    """

    def __init__(self) -> None:
        self.largest: dict[str, float] = {}

    def begin_round(self, server_round: int, sent: Tensors) -> None:
        """Find the limit of the round."""
        self._limit = max(_LIMIT, _GROWTH * max((max_abs(x) for _, _, x in iter_blocks(flatten(sent))), default=0.0))

    def transform(self, reply: Reply) -> Reply:
        """Return the reply as it is, or raise ``UPDATE-RANGE``."""
        largest = 0.0
        for tensors in (reply.arrays, *map(array_views, reply.records.values())):
            for name, _, block in iter_blocks(flatten(tensors)):
                size = max_abs_bound(block)
                size = size if size <= self._limit else max_abs(block)
                if not size <= self._limit:
                    raise out_of_range_error(name, size)
                largest = max(largest, size)
        self.largest[reply.site] = largest
        return reply


def check_sent_model(model: Tensors) -> None:
    """Raise ``MODEL-NONFINITE`` when a model that is to be sent holds not-a-number or infinity."""
    name = _find_nonfinite(model)
    if name:
        raise ExchangeError(
            "MODEL-NONFINITE",
            f"tensor {name!r} of the model that is to be sent holds not-a-number or infinity.",
            "Start from a model of finite values.",
        )


class _Resumable(Protocol):
    def finish_round(self) -> ArrayRecord: ...
    def state(self) -> dict[str, Tensor]: ...
    def restore(self, state: Tensors) -> None: ...


def finish_in_range(strategy: _Resumable, record: RoundRecord, largest: Mapping[str, float]) -> ArrayRecord:
    """Finish a round of a strategy, or refuse the round and take back what the strategy has kept of it.

    Parameters
    ----------
    strategy : FedAvg
        The strategy.
    record : RoundRecord
        The round, with the replies that counted.
    largest : mapping of str to float
        Largest absolute value of each reply, by site; empty when it is not known.

    Returns
    -------
    ArrayRecord
        The new model.

    Raises
    ------
    QuorumError
        ``UPDATE-RANGE`` when the new model, or what the next round needs besides it, is not finite.
    """
    before = strategy.state()
    with np.errstate(over="ignore", invalid="ignore"):  # it is told below
        made = strategy.finish_round()
        kept = strategy.state()
    model_is_finite = not _find_nonfinite(array_views(made))
    if model_is_finite and not _find_nonfinite(kept):
        return made
    strategy.restore(before)
    what = "what the next round needs" if model_is_finite else "the new model"
    counted = {reply.site: largest[reply.site] for reply in record.counted if reply.site in largest}
    worst = max(counted.values(), default=0.0)
    sites = ", ".join(sorted(site for site, size in counted.items() if size == worst))
    raise QuorumError(
        "UPDATE-RANGE",
        f"round {record.round}: {what} is out of range, so nothing of this round is kept."
        f"{f' The largest values came from {sites}.' if sites else ''}",
        "Lower the learning rates, or leave out that site.",
    )


def _find_nonfinite(tensors: Tensors) -> str:
    """Return the name of a tensor that holds not-a-number or infinity; empty when there is none."""
    for name, _, block in iter_blocks(flatten(tensors)):
        if not math.isfinite(max_abs_bound(block)) and not math.isfinite(max_abs(block)):
            return name
    return ""
