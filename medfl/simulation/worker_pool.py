"""Pool of the embedded engine's worker processes, in which a simulated hospital stays with the worker that holds its data.

`medfl.system.pools.map_processes` cannot do this: it gives any item to any process, and loses all of them when one dies.
"""

from __future__ import annotations

import contextlib
import ctypes
import operator
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from flwr.app import Context, Error, Message

from medfl.errors import safe_sentence
from medfl.flower import compat
from medfl.simulation.pool_worker import Job, serve
from medfl.system import pools
from medfl.system.main_module import main_hidden

_PRELOAD = ["medfl.clients.preload", "medfl.client_app"]
P = ParamSpec("P")
T = TypeVar("T")

_GRACE = 3.0  # seconds in which an idle worker ends by itself; then it is killed


@dataclass
class _Worker:
    process: BaseProcess
    jobs: Connection
    task: tuple[Message, Context, float] | None = None  # with the time at which it was sent


class WorkerPool:
    """Fixed number of processes that run a ClientApp; a node stays with the worker that holds its data if it can.

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
        self._start_context = _start_context(cuda)
        self._waiting: list[tuple[Message, Context]] = []
        self._is_sorted = True
        self._preferred_worker: dict[int, int] = {}  # node -> index of the worker that holds its data
        self._durations: dict[int, float] = {}  # node -> seconds that it took the last time
        self._workers = [self._start_worker() for _ in range(workers)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def submit(self, message: Message, context: Context) -> None:
        """Queue a message; the node that took longest the last time is served first."""
        self._waiting.append((message, context))
        self._is_sorted = False

    def collect(self, timeout: float) -> Iterator[Message]:
        """Yield the replies that are ready; wait up to `timeout` seconds for the first one."""
        self._dispatch()
        busy = {worker.jobs: worker for worker in self._workers if worker.task}
        for ready in wait(list(busy), timeout) if busy else []:
            yield self._receive(busy[ready])  # type: ignore[index]
            self._dispatch()

    def call(self, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """Call a function in a process that ends with it, and return what it returns."""
        calls = [partial(function, *arguments, **options)]
        ((_, result),) = pools.map_processes(operator.call, calls, 1, self._start_context)
        return result

    def close(self) -> None:
        """End every process; none is left behind, and a busy one is not waited for."""
        for worker in self._workers:
            worker.jobs.close()
            if worker.task:
                worker.process.kill()
        pools.kill_after([worker.process for worker in self._workers], _GRACE)
        self._workers.clear()

    def _start_worker(self) -> _Worker:
        ours, theirs = self._start_context.Pipe()
        arguments = (theirs, self._app, self._threads, dict(os.environ))
        process = self._start_context.Process(target=serve, args=arguments, daemon=True)
        with pools.sigint_blocked(), main_hidden():
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def _dispatch(self) -> None:
        if not self._is_sorted:
            self._waiting.sort(key=lambda job: -self._durations.get(job[1].node_id, 0.0))
            self._is_sorted = True
        for index, worker in enumerate(self._workers):
            if worker.task is None and (chosen := self._choose(index)) is not None:
                message, context = self._waiting.pop(chosen)
                self._preferred_worker.setdefault(context.node_id, index)
                worker.task = (message, context, time.monotonic())
                with contextlib.suppress(OSError):  # the worker is dead, which `_receive` notices
                    worker.jobs.send(Job(message, context))

    def _choose(self, index: int) -> int | None:
        """Choose a waiting message for a worker: one whose data it holds, else any; a node answers one message at a time."""
        busy = {worker.task[1].node_id for worker in self._workers if worker.task}
        first = None
        for k, (_, context) in enumerate(self._waiting):
            if context.node_id not in busy:
                if self._preferred_worker.get(context.node_id, index) == index:
                    return k
                first = k if first is None else first
        return first

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
        dead.process.join(_GRACE)
        exit_code = dead.process.exitcode  # before it is killed for not ending by itself
        pools.kill_after([dead.process], _GRACE)
        fresh = self._start_worker()
        dead.process, dead.jobs = fresh.process, fresh.jobs
        reason = safe_sentence("SITE-KILLED" if exit_code == -signal.SIGKILL else "SITE-CRASHED")
        return Message(Error(compat.ErrorCode.CLIENT_APP_CRASHED, reason), reply_to=message)


def warm_up() -> None:
    """Begin to import what workers need, in the background, for a pool that is made later."""
    if not has_cuda():
        pools.fork_context(_PRELOAD)
        compat.disable_telemetry()
        forkserver.ensure_running()


def has_cuda() -> bool:
    """Return whether NVIDIA's driver is installed, without importing torch into the server's process."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _start_context(cuda: bool) -> pools.StartContext:
    return pools.spawn_context() if cuda else pools.fork_context(_PRELOAD)
