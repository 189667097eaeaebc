"""Processes that work for this one: Ctrl-C is for this one alone, and none outlives the work."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def terminating(pool: ProcessPoolExecutor) -> Iterator[ProcessPoolExecutor]:
    """Shut a pool down in the end; its processes are ended, not waited for, when that comes early.

    Parameters
    ----------
    pool : ProcessPoolExecutor
        None of whose processes has started yet.
    """
    before = set(multiprocessing.active_children())
    finished = False
    try:
        yield pool
        finished = True
    finally:
        if not finished:  # Ctrl-C, a full disk, or a process that was killed
            for child in set(multiprocessing.active_children()) - before:
                child.terminate()
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def sigint_blocked() -> Iterator[None]:
    """Put Ctrl-C off; processes that are started here never hear it, not even while they import: it is for this one."""
    resource_tracker.ensure_running()  # else started later by multiprocessing, which lets Ctrl-C in again then
    heard: list[int] = []
    handler = signal.getsignal(signal.SIGINT)
    swap = callable(handler) and threading.current_thread() is threading.main_thread()
    if swap:  # a library's thread may get the signal all the same; a worker half started would be nobody's child
        signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if swap:
            signal.signal(signal.SIGINT, handler)
    if heard:
        signal.raise_signal(signal.SIGINT)
