"""Breaking work off between two batches: the run was stopped, or the hospital's own limit of time is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from medfl.errors import StoppedError

StopReason = Callable[[], str | None]

_SENTENCES = {
    "RUN-STOPPED": "the run is over at the server, so the work for it was broken off.",
    "POLICY-MINUTES": "the work for one message took longer than the policy of this site allows.",
}
_checks: ContextVar[tuple[StopReason, ...]] = ContextVar("checks", default=())


@contextmanager
def stop_when(reason: StopReason) -> Iterator[None]:
    """Break off what is done inside as soon as a reason is told.

    Parameters
    ----------
    reason : callable
        Asked once a batch; returns a code, ``RUN-STOPPED`` or ``POLICY-MINUTES``, or None to go on.
    """
    token = _checks.set((*_checks.get(), reason))
    try:
        yield
    finally:
        _checks.reset(token)


def check_interrupts() -> None:
    """Raise StoppedError when somebody told a reason to stop; called once a batch."""
    for ask in _checks.get():
        if (code := ask()) is not None:
            raise StoppedError(code, _SENTENCES[code])
