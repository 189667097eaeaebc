"""Norm filters: `ClipNorm` shortens long updates, `NormOutlierFilter` leaves out those that are much longer than the others.

An update is the model that a site returns minus the model that it started from. Its norm is the Euclidean norm over all
parameters together; buffers (running statistics), integer and boolean tensors do not count and stay as they came.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from logging import INFO, getLogger
from statistics import median

from medfl.messages.models import interpolate
from medfl.strategies.base.reply import Reply, update_norm
from medfl.strategies.transforms.reply_transform import ReplyTransform

_log = getLogger("flwr")
_MIN_UPDATES = 3  # with two updates there is no telling which one is too long


class ClipNorm(ReplyTransform):
    """Shorten updates that are longer than a norm to that norm (Sun et al. 2019, https://arxiv.org/abs/1911.07963).

    This bounds what one site can do to the parameters, whatever it sends. It does not bound buffers, which are averaged as they
    came: keep BatchNorm at the sites, or take a robust rule, where a site may be malicious. In a model of half precision the
    result is rounded.

    Parameters
    ----------
    norm : float
        Norm to which longer updates are shortened, above 0.
    """

    distinguishes_buffers = only_shortens = True

    def __init__(self, norm: float) -> None:
        if not norm > 0:
            raise ValueError(f"norm must be above 0, came {norm}")
        self.norm = norm

    def transform(self, reply: Reply) -> Reply:
        """Return the reply with its update shortened, or unchanged when it is short enough."""
        length = update_norm(reply)
        if length <= self.norm:
            return reply
        factor = self.norm / length
        arrays = {
            name: x if name in reply.buffers else interpolate(reply.start[name], x, factor) for name, x in reply.arrays.items()
        }
        return dataclasses.replace(reply, arrays=arrays)


class NormOutlierFilter(ReplyTransform):
    """Leave out updates whose norm is far above the median norm of the round.

    It needs three replies: with fewer nothing is left out, and the log says so. It looks at length alone; an update of usual
    length in a wrong direction passes. The replies of a round wait on disk until all have come.

    Parameters
    ----------
    factor : float
        Largest norm, as a multiple of the median; at least 1, so that half of the replies always pass.
    """

    distinguishes_buffers = needs_norms = only_shortens = True

    def __init__(self, factor: float) -> None:
        if not factor >= 1:
            raise ValueError(f"factor must be at least 1, came {factor}")
        self.factor = factor

    def reject(self, norms: Mapping[str, float]) -> dict[str, str]:
        """Return the sites whose updates are too long, with the reason."""
        if len(norms) < _MIN_UPDATES:
            _log.log(INFO, "The norms of %d updates are not compared: at least %d are needed", len(norms), _MIN_UPDATES)
            return {}
        middle = median(norms.values())
        return {site: self._reason(norm, middle) for site, norm in norms.items() if norm > self.factor * middle}

    def _reason(self, norm: float, middle: float) -> str:
        ratio = norm / middle if middle else math.inf
        return f"[UPDATE-NORM] The norm of the update is {ratio:.1f} times the median, allowed is {self.factor:g}."
