"""Doing the same to many cases, one after the other or in several processes; a case that kills its process is found out."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from medfl.system.pools import sigint_blocked, terminating

_MIN_PARALLEL_CASES = 40  # cases, below which starting processes takes longer than it saves
_MAX_PROCESSES = 4  # processes: each holds one image in memory
_QUEUED_PER_PROCESS = 2  # cases that wait in line for a process

T = TypeVar("T")
R = TypeVar("R")


def map_cases(work: Callable[[T], R], items: Sequence[T], died: Callable[[T], R], workers: int = 0) -> Iterator[tuple[int, R]]:
    """Apply a function to every item, in any order.

    Parameters
    ----------
    work : callable
        Must be picklable, and raise nothing.
    items : sequence
        What it is applied to.
    died : callable
        Gives the result of an item on which the process itself died, as damaged files can do to a decoder.
    workers : int
        Processes; 1: none but this one, 0: as the number of items and the cores allow.

    Yields
    ------
    (int, result)
        Place of the item and its result.
    """
    count = workers or (min(_MAX_PROCESSES, os.cpu_count() or 1) if len(items) >= _MIN_PARALLEL_CASES else 1)
    if count == 1:
        yield from ((place, work(item)) for place, item in enumerate(items))
        return
    left = dict(enumerate(items))
    try:
        for place, result in _map_parallel(work, left, count):
            del left[place]
            yield place, result
    except BrokenProcessPool:
        # nobody can tell which of the items in work it was: the rest go one by one
        yield from _map_isolated(work, list(left.items()), died)


def _map_parallel(work: Callable[[T], R], items: dict[int, T], count: int) -> Iterator[tuple[int, R]]:
    waiting = iter(tuple(items.items()))
    running: dict[Future[R], int] = {}
    with terminating(_make_pool(count)) as pool:
        while True:
            with sigint_blocked():  # any of these may start a process
                while len(running) < count * _QUEUED_PER_PROCESS and (following := next(waiting, None)):
                    running[pool.submit(work, following[1])] = following[0]
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                result = future.result()
                yield running.pop(future), result


def _map_isolated(work: Callable[[T], R], left: list[tuple[int, T]], died: Callable[[T], R]) -> Iterator[tuple[int, R]]:
    while left:
        with terminating(_make_pool(1)) as pool:
            while left:
                place, item = left.pop(0)
                with sigint_blocked():
                    future = pool.submit(work, item)
                try:
                    yield place, future.result()
                except BrokenProcessPool:
                    yield place, died(item)
                    break  # to a new pool


def _make_pool(count: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"))
