"""Several cases at a time: each is made in a worker process of its own, and they come back in order."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from medfl.data.cases import Case
from medfl.data.store.forecast import affordable
from medfl.data.store.room import Outcome, Room
from medfl.site import Site
from medfl.study import Study
from medfl.system.pools import ending, undisturbed

Learnt = dict[str, list[int | str]]

_room: Room | None = None  # of this worker process


def outcomes(order: Sequence[Case], room: Room, site: Site, study: Study, workers: int) -> Iterator[tuple[Case, Outcome]]:
    """Find or make each case.

    Parameters
    ----------
    order : sequence of Case
        As the cohort has them, with their splits.
    room : Room
        Of this process: what lies in the store already is found here.
    site : Site
        The hospital.
    study : Study
        What is learnt.
    workers : int
        Cases to make at a time, as far as the memory allows; one is made in this process.

    Yields
    ------
    tuple of Case and Outcome
        In the order given.

    Raises
    ------
    DataError, DiskFullError
        As `Room.ensure` does.
    """
    done = 0
    if workers > 1:
        known = room.shelf.names()
        missing = [case for case in order if case.name not in known]
        count = affordable(missing, study, workers)
        if count > 1:
            for pair in _at_once(order, room, site, study, count):
                yield pair
                done += 1
    for at, case in enumerate(order[done:], start=done):  # all, or what is left when a worker was killed
        yield case, room.ensure(case, len(order) - at)


def _at_once(order: Sequence[Case], room: Room, site: Site, study: Study, count: int) -> Iterator[tuple[Case, Outcome]]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["medfl.data.preprocess"])
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(site, study))
    try:
        with ending(pool):  # what they were writing when that comes early is swept away at the next start
            with undisturbed():  # all workers are started here
                made = pool.map(_make, order, range(len(order), 0, -1))
            for case, (outcome, learnt) in zip(order, made, strict=True):
                room.digests.learn(learnt)
                if outcome.meta is not None:
                    room.shelf.remember(case.name, outcome.key, outcome.meta)
                yield case, outcome
    except BrokenProcessPool:  # most likely for want of memory; the rest is made one by one
        return


def _begin(site: Site, study: Study) -> None:
    global _room
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where the server that starts workers was running before
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    _room = Room(site, study)


def _make(case: Case, remaining: int) -> tuple[Outcome, Learnt]:
    assert _room is not None
    return _room.ensure(case, remaining), _room.digests.learnt()
