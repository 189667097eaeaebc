"""Several cases at a time: each is made in a worker process of its own, and they come back in order."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from medfl.data.cases import Case
from medfl.data.store.case_cache import CaseCache, Outcome
from medfl.data.store.forecast import max_parallel_cases
from medfl.site import Site
from medfl.study import Study
from medfl.system.pools import sigint_blocked, terminating

NewDigests = dict[str, list[int | str]]

_cache: CaseCache | None = None  # of this worker process


def iter_outcomes(
    order: Sequence[Case], room: CaseCache, site: Site, study: Study, workers: int
) -> Iterator[tuple[Case, Outcome]]:
    """Find or make each case.

    Parameters
    ----------
    order : sequence of Case
        As the cohort has them, with their splits.
    room : CaseCache
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
        As `CaseCache.ensure` does.
    """
    done = 0
    if workers > 1:
        known = room.cache_folder.case_names()
        missing = [case for case in order if case.name not in known]
        count = max_parallel_cases(missing, study, workers)
        if count > 1:
            for pair in _iter_parallel(order, room, site, study, count):
                yield pair
                done += 1
    for at, case in enumerate(order[done:], start=done):  # all, or what is left when a worker was killed
        yield case, room.get_or_prepare(case, len(order) - at)


def _iter_parallel(
    order: Sequence[Case], room: CaseCache, site: Site, study: Study, count: int
) -> Iterator[tuple[Case, Outcome]]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["medfl.data.preprocess"])
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_init_worker, initargs=(site, study))
    try:
        with terminating(pool):  # what they were writing when that comes early is swept away at the next start
            with sigint_blocked():  # all workers are started here
                made = pool.map(_prepare_case, order, range(len(order), 0, -1))
            for case, (outcome, learnt) in zip(order, made, strict=True):
                room.digests.merge(learnt)
                if outcome.meta is not None:
                    room.cache_folder.register(case.name, outcome.key, outcome.meta)
                yield case, outcome
    except BrokenProcessPool:  # most likely for want of memory; the rest is made one by one
        return


def _init_worker(site: Site, study: Study) -> None:
    global _cache
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where the server that starts workers was running before
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    _cache = CaseCache(site, study)


def _prepare_case(case: Case, remaining: int) -> tuple[Outcome, NewDigests]:
    assert _cache is not None
    return _cache.get_or_prepare(case, remaining), _cache.digests.pop_new()
