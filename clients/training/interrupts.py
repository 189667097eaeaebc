"""Interruption of work between two batches: the run was stopped, or the site's own time limit has passed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from medfl.errors import StoppedError

StopReason = Callable[[], str | None]

_SENTENCES = {
    "RUN-STOPPED": "the run has ended at the server, so work for it was broken off.",
    "POLICY-MINUTES": "the work for one message took longer than the policy of this site allows.",
}
_checks: ContextVar[tuple[StopReason, ...]] = ContextVar("checks", default=())


@contextmanager
def stop_when(reason: StopReason) -> Iterator[None]:
    """Break off the work inside as soon as there is a reason to.

    Parameters
    ----------
    reason : callable
        Called once a batch; returns a code, ``RUN-STOPPED`` or ``POLICY-MINUTES``, or None to go on.
    """
    token = _checks.set((*_checks.get(), reason))
    try:
        yield
    finally:
        _checks.reset(token)


def check_interrupts() -> None:
    """Raise StoppedError when there is a reason to stop; called once a batch."""
    for reason in _checks.get():
        if (code := reason()) is not None:
            raise StoppedError(code, _SENTENCES[code])
