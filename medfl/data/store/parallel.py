"""Preparation of several cases at a time, each in a worker process; results come back in order."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool

from medfl.data.cases import Case
from medfl.data.store.case_cache import CaseCache, Outcome
from medfl.data.store.forecast import max_parallel_cases
from medfl.site import Site
from medfl.study import Study
from medfl.system.pools import fork_context, map_processes

NewDigests = dict[str, list[int | str]]

_cache: CaseCache | None = None  # of this worker process


def iter_outcomes(
    order: Sequence[Case], cache: CaseCache, site: Site, study: Study, workers: int
) -> Iterator[tuple[Case, Outcome]]:
    """Find or make each case.

    Parameters
    ----------
    order : sequence of Case
        Cases of the cohort, with their splits.
    cache : CaseCache
        Cache of this process: it finds what the store holds already.
    site : Site
        The hospital.
    study : Study
        Names the task.
    workers : int
        Cases to make at a time, as far as the memory allows; one is made in this process.

    Yields
    ------
    tuple of Case and Outcome
        Cases and outcomes in the order given.

    Raises
    ------
    DataError, DiskFullError
        If `CaseCache.get_or_prepare` raises it.
    """
    done = 0
    if workers > 1:
        known = cache.cache_folder.case_names()
        missing = [case for case in order if case.name not in known]
        count = max_parallel_cases(missing, study, site, workers)
        if count > 1:
            for pair in _iter_parallel(order, cache, site, study, count):
                yield pair
                done += 1
    for at, case in enumerate(order[done:], start=done):  # all, or what is left when a worker was killed
        yield case, cache.get_or_prepare(case, len(order) - at)


def _iter_parallel(
    order: Sequence[Case], cache: CaseCache, site: Site, study: Study, count: int
) -> Iterator[tuple[Case, Outcome]]:
    items = list(zip(order, range(len(order), 0, -1), strict=True))
    context = fork_context(["medfl.data.preprocess.steps"])
    try:  # what the workers were writing when it ends early is swept away at the next start
        outcomes = map_processes(
            _prepare_case, items, count, context, ordered=True, setup=_init_worker, setup_arguments=(site, study)
        )
        for index, (outcome, digests) in outcomes:
            case = order[index]
            cache.digests.merge(digests)
            if outcome.meta is not None:
                cache.cache_folder.register(case.name, outcome.key, outcome.meta)
            yield case, outcome
    except BrokenProcessPool:  # most likely for want of memory; the rest is made one by one
        return


def _init_worker(site: Site, study: Study) -> None:
    global _cache
    import torch

    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    _cache = CaseCache(site, study)


def _prepare_case(item: tuple[Case, int]) -> tuple[Outcome, NewDigests]:
    case, remaining = item
    assert _cache is not None
    return _cache.get_or_prepare(case, remaining), _cache.digests.pop_new()
