"""Flower's wrappers for central differential privacy, which do not make themselves known to the strategy that they wrap.

Private knowledge of Flower: a wrapper calls its strategy from a method `configure_train` of its own, holds the number of
replies for which it plans its noise as `num_sampled_clients`, and all rounds run within `Strategy.start`.
"""

from __future__ import annotations

import sys
from types import FrameType

from flwr.serverapp import strategy as flower

WRAPPERS = (
    flower.DifferentialPrivacyClientSideAdaptiveClipping,
    flower.DifferentialPrivacyClientSideFixedClipping,
    flower.DifferentialPrivacyServerSideAdaptiveClipping,
    flower.DifferentialPrivacyServerSideFixedClipping,
)


def find_planned_replies() -> int:
    """Return the number of replies for which a wrapper around the calling strategy plans its noise; 0 without a wrapper.

    To be called within a strategy's `configure_train`. The wrapper is looked for among the callers, however many other
    strategies or decorators are in between, up to the loop of rounds. Of several wrappers the largest number counts.
    """
    frame: FrameType | None = sys._getframe(1)
    planned = 0
    while frame is not None and frame.f_code is not flower.Strategy.start.__code__:
        if frame.f_code.co_name == "configure_train":  # of no other: looking into a frame keeps what is in it
            owner = frame.f_locals.get("self")
            if isinstance(owner, WRAPPERS):
                planned = max(planned, int(owner.num_sampled_clients))
        frame = frame.f_back
    return planned
