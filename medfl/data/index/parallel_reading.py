"""Reading of many files' facts, in several processes where that is faster.

The processes are plain programs that get paths and return facts: unlike those of `multiprocessing` they do not import the
program that started them, and may be started from anywhere, even from a worker of a simulation.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path
from queue import SimpleQueue

import medfl
from medfl.data.index.file_facts import FileFacts, from_json, probe_facts
from medfl.system.pools import count_cores

_MIN_PARALLEL_FILES = 4000  # below this number of files, starting processes takes longer than it saves
_MAX_PROCESSES = 16  # a disk or a network serves no more processes at once
_BATCH = 250  # files that a process gets at a time

Batch = list[tuple[int, FileFacts]]


def read_file_facts(paths: Sequence[str], workers: int = 0) -> Iterator[Batch]:
    """Open files and yield their facts.

    Parameters
    ----------
    paths : sequence of str
        The files.
    workers : int
        Number of processes; 1: only this one, 0: chosen by the numbers of files and cores.

    Yields
    ------
    list of (int, FileFacts)
        Indices into `paths` with the facts, batch by batch in any order; nothing is lost when the caller stops.
    """
    count = workers or (min(_MAX_PROCESSES, count_cores()) if len(paths) >= _MIN_PARALLEL_FILES else 1)
    batches = (range(start, min(start + _BATCH, len(paths))) for start in range(0, len(paths), _BATCH))
    if count == 1:
        yield from (_read_in_this_process(paths, batch) for batch in batches)
        return
    pool: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
    processes = [_start_process() for _ in range(count)]
    for process in processes:
        pool.put(process)
    threads = ThreadPoolExecutor(count)
    running: set[Future[Batch]] = set()
    try:
        while True:
            running |= {
                threads.submit(_read_in_process, pool, paths, batch) for batch in islice(batches, 2 * count - len(running))
            }
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    finally:
        threads.shutdown(cancel_futures=True)
        for process in processes:
            process.kill()
            process.communicate()


def _read_in_this_process(paths: Sequence[str], batch: Sequence[int]) -> Batch:
    return [(index, probe_facts(paths[index])) for index in batch]


def _read_in_process(pool: SimpleQueue[subprocess.Popen[bytes]], paths: Sequence[str], batch: Sequence[int]) -> Batch:
    process = pool.get()
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([paths[index] for index in batch]).encode() + b"\n")
        process.stdin.flush()
        response = json.loads(process.stdout.readline())
        return [(index, from_json(values)) for index, values in zip(batch, response, strict=True)]
    except (OSError, ValueError):  # the process was killed, or could not start
        return _read_in_this_process(paths, batch)
    finally:
        pool.put(process)


def _start_process() -> subprocess.Popen[bytes]:
    python_path = os.pathsep.join([str(Path(medfl.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-m", "medfl.data.index.reading_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": python_path, "OMP_NUM_THREADS": "1"},
    )
