"""Processes that check cases, several at a time; a case that kills its process is identified."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from medfl.system.pools import count_cores, map_isolated, map_processes, spawn_context

_MIN_PARALLEL_CASES = 40  # cases, below which starting processes takes longer than it saves
_MAX_PROCESSES = 4  # processes: each holds one image in memory

T = TypeVar("T")
R = TypeVar("R")


def map_cases(
    function: Callable[[T], R], items: Sequence[T], on_death: Callable[[T], R], workers: int = 0
) -> Iterator[tuple[int, R]]:
    """Apply a function to every item, in any order.

    Parameters
    ----------
    function : callable
        Must be picklable, and raise nothing.
    items : sequence
        Its arguments.
    on_death : callable
        Returns the result of an item on which the process itself died, as damaged files can do to a decoder.
    workers : int
        Processes; 1: none but this one, 0: as the number of items and the cores allow.

    Yields
    ------
    int
        Index of the item.
    R
        Its result.
    """
    count = workers or (min(_MAX_PROCESSES, count_cores()) if len(items) >= _MIN_PARALLEL_CASES else 1)
    if count == 1:
        yield from enumerate(map(function, items))
        return
    remaining = dict(enumerate(items))
    try:
        for index, result in map_processes(function, items, count, spawn_context()):
            del remaining[index]
            yield index, result
    except BrokenProcessPool:  # any of the cases that were being read may be the one: the rest go one by one
        indices = list(remaining)
        for k, result in map_isolated(function, list(remaining.values()), spawn_context(), on_death):
            yield indices[k], result
