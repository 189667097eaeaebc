"""The warm worker processes of the embedded engine: who works on what, and what happens when one dies."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from flwr.app import Context, Error, Message

from medfl.flower import compat
from medfl.simulation.pool_worker import Job, ignore_interrupts, serve

_PRELOAD = ["medfl.clients.preload", "medfl.client_app"]
P = ParamSpec("P")
T = TypeVar("T")

_GRACE = 3.0  # seconds for a worker to leave by itself before it is killed


@dataclass
class _Worker:
    process: BaseProcess
    jobs: Connection
    parent_pipe: Connection
    task: tuple[Message, Context, float] | None = None  # with the time when it was handed over


class WorkerPool:
    """A fixed number of processes that run a ClientApp; a node stays with the worker that holds its data if it can.

    Parameters
    ----------
    workers : int
        Number of processes.
    app : str
        The ClientApp as ``module:attribute``.
    threads : int
        Threads of each process.
    cuda : bool
        Start processes by ``spawn``, which CUDA needs; otherwise they are forked from a warm server.
    """

    def __init__(self, workers: int, app: str, threads: int = 1, *, cuda: bool = False) -> None:
        self._app, self._threads = app, threads
        self._start_context = _multiprocessing_context(cuda)
        self._waiting: list[tuple[Message, Context]] = []
        self._preferred_worker: dict[int, int] = {}  # node -> index of the worker that holds its data
        self._durations: dict[int, float] = {}  # node -> how long it took the last time
        self._workers = [self._start_worker() for _ in range(workers)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def submit(self, message: Message, context: Context) -> None:
        """Hand in a message; the longest known work is started first."""
        self._waiting.append((message, context))
        self._waiting.sort(key=lambda job: -self._durations.get(job[1].node_id, 0.0))

    def collect(self, timeout: float) -> Iterator[Message]:
        """Yield the replies that have come; wait up to `timeout` seconds for the first one."""
        self._dispatch()
        busy = {worker.jobs: worker for worker in self._workers if worker.task}
        for ready in wait(list(busy), timeout) if busy else []:
            yield self._receive(busy[ready])  # type: ignore[index]
            self._dispatch()

    def call(self, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """Call a function in a warm process that ends with it, and return what it returns."""
        with ProcessPoolExecutor(1, mp_context=self._start_context, initializer=ignore_interrupts) as executor:
            return executor.submit(function, *arguments, **options).result()

    def close(self) -> None:
        """End every process; none is left behind."""
        for worker in self._workers:
            worker.jobs.close()
            worker.parent_pipe.close()
        deadline = time.monotonic() + _GRACE
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.process.close()
        self._workers.clear()

    def _start_worker(self) -> _Worker:
        ours, theirs = self._start_context.Pipe()
        our_line, their_line = self._start_context.Pipe()
        process = self._start_context.Process(target=serve, args=(theirs, their_line, self._app, self._threads), daemon=True)
        process.start()
        theirs.close()
        their_line.close()
        return _Worker(process, ours, our_line)

    def _dispatch(self) -> None:
        for index, worker in enumerate(self._workers):
            if worker.task is None and (chosen := self._choose(index)) is not None:
                message, context = self._waiting.pop(chosen)
                self._preferred_worker.setdefault(context.node_id, index)
                worker.task = (message, context, time.monotonic())
                with contextlib.suppress(OSError):  # the worker is dead, which `_take` sees
                    worker.jobs.send(Job(message, context))

    def _choose(self, index: int) -> int | None:
        """Pick the waiting message for a worker: one whose data it holds, else any; a node does one thing at a time."""
        busy = {worker.task[1].node_id for worker in self._workers if worker.task}
        free = [k for k, (_, context) in enumerate(self._waiting) if context.node_id not in busy]
        at_home = (k for k in free if self._preferred_worker.get(self._waiting[k][1].node_id, index) == index)
        return next(at_home, free[0] if free else None)

    def _receive(self, worker: _Worker) -> Message:
        assert worker.task is not None
        message, context, started = worker.task
        try:
            reply, context.state = worker.jobs.recv()
        except (EOFError, OSError):
            reply = self._restart_worker(worker, message)
        worker.task = None
        self._durations[context.node_id] = time.monotonic() - started
        return reply  # type: ignore[no-any-return]

    def _restart_worker(self, dead: _Worker, message: Message) -> Message:
        dead.jobs.close()
        dead.parent_pipe.close()
        dead.process.join(_GRACE)
        fresh = self._start_worker()
        dead.process, dead.jobs, dead.parent_pipe = fresh.process, fresh.jobs, fresh.parent_pipe
        reason = "[SITE-CRASHED] The process of this site ended without an answer, perhaps for want of memory."
        return Message(Error(compat.CLIENT_APP_CRASHED, reason), reply_to=message)


def warm_up() -> None:
    """Begin to import what workers need, in the background; a pool that is made later finds it done."""
    context = _multiprocessing_context(has_cuda())
    if isinstance(context, ForkServerContext):
        compat.disable_telemetry()
        forkserver.ensure_running()


def has_cuda() -> bool:
    """Look for NVIDIA's driver; to ask torch would bring all of it into the server's process."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def _multiprocessing_context(cuda: bool) -> ForkServerContext | SpawnContext:
    if cuda or "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    return context
