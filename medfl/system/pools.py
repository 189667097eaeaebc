"""Pools of processes that work for this one: only this one receives Ctrl-C, and none of them outlives it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import resource_tracker
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from medfl.system.main_module import main_hidden
from medfl.system.parent_watch import die_with_parent

_QUEUED_PER_PROCESS = 2  # items in work or waiting for each process: results do not pile up behind a slow consumer
StartContext = ForkServerContext | SpawnContext
T = TypeVar("T")
R = TypeVar("R")


def count_cores() -> int:
    """Return the number of cores that this process may use; macOS does not restrict a process to some of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spawn_context() -> SpawnContext:
    """Return the context of processes that start from nothing, as CUDA requires."""
    return multiprocessing.get_context("spawn")


def fork_context(preload: Sequence[str]) -> ForkServerContext:
    """Return the context of processes that are forked from a server, which imports the modules that they need once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context


def map_processes(
    function: Callable[[T], R],
    items: Sequence[T],
    processes: int,
    context: StartContext,
    *,
    ordered: bool = False,
    setup: Callable[..., None] | None = None,
    setup_arguments: tuple[Any, ...] = (),
) -> Iterator[tuple[int, R]]:
    """Apply a function to every item in other processes, which end with the iteration, also when it ends early.

    Parameters
    ----------
    function : callable
        Of a module that can be imported, not of the program itself (see `main_hidden`); what it raises ends the iteration.
    items : sequence
        Its arguments, picklable.
    processes : int
        Number of processes.
    context : StartContext
        From `spawn_context` or `fork_context`.
    ordered : bool
        Yield results in the order of `items`, not as they become ready.
    setup, setup_arguments : callable, tuple
        Called with these in each process before its first item.

    Yields
    ------
    int
        Index of the item.
    R
        Its result.

    Raises
    ------
    BrokenProcessPool
        When a process died. With one process and `ordered`, the item after the last that was yielded did it.
    """
    pool = ProcessPoolExecutor(processes, context, _set_up_process, (dict(os.environ), setup, setup_arguments))
    limit = processes * _QUEUED_PER_PROCESS
    with _terminating(pool):
        waiting = iter(enumerate(items))
        running: dict[Future[R], int] = {}  # in the order of the items
        while True:
            with sigint_blocked(), main_hidden():  # every process is started here
                running |= {pool.submit(function, x): index for index, x in islice(waiting, limit - len(running))}
            if not running:
                return
            future = next(iter(running)) if ordered else next(as_completed(running))
            result = future.result()
            yield running.pop(future), result


def map_isolated(
    function: Callable[[T], R], items: Sequence[T], context: StartContext, on_death: Callable[[T], R]
) -> Iterator[tuple[int, R]]:
    """Apply a function to one item after the other in a process that is replaced when an item kills it.

    Parameters
    ----------
    function, items, context
        As in `map_processes`.
    on_death : callable
        Returns the result of an item that killed the process, as damaged files can do to a decoder.

    Yields
    ------
    int
        Index of the item.
    R
        Its result.
    """
    done = 0
    while done < len(items):
        try:
            for _, result in map_processes(function, items[done:], 1, context, ordered=True):
                yield done, result
                done += 1
        except BrokenProcessPool:
            yield done, on_death(items[done])
            done += 1


def kill_after(processes: Collection[BaseProcess], seconds: float) -> None:
    """Wait for processes to end, kill those that have not after some seconds, and release them all."""
    deadline = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
        process.close()


def take_environment(environment: Mapping[str, str]) -> None:
    """Take the environment of the process that asked for this one; that of the server that forked it may be older.

    Otherwise what a program or a notebook has set meanwhile, such as ``MEDFL_STORE``, would hold in one of the two alone.
    """
    os.environ.clear()
    os.environ.update(environment)


def ignore_interrupts() -> None:
    """Leave Ctrl-C to the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def sigint_blocked() -> Iterator[None]:
    """Postpone Ctrl-C; processes that are started meanwhile never receive it, not even while they import."""
    resource_tracker.ensure_running()  # otherwise multiprocessing starts it later and unblocks Ctrl-C too early
    received: list[int] = []
    handler = signal.getsignal(signal.SIGINT)
    swap = callable(handler) and threading.current_thread() is threading.main_thread()
    if swap:  # a library's thread may get the signal all the same; a worker half started would have no parent
        signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if swap:
            signal.signal(signal.SIGINT, handler)
    if received:
        signal.raise_signal(signal.SIGINT)


@contextmanager
def _terminating(pool: ProcessPoolExecutor) -> Iterator[ProcessPoolExecutor]:
    """Shut a pool down at the end; when that comes early, its processes are terminated instead of waited for.

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


def _set_up_process(environment: Mapping[str, str], setup: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    take_environment(environment)
    ignore_interrupts()  # the server that forks processes may have been started before SIGINT was blocked
    die_with_parent()
    if setup is not None:
        setup(*arguments)
