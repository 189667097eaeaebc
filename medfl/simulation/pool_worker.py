"""Worker process that answers for simulated hospitals, one message at a time, and keeps what it has imported."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection

from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp

from medfl.errors import safe_reason
from medfl.flower import compat
from medfl.system.parent_watch import die_with_parent
from medfl.system.pools import ignore_interrupts, take_environment


@dataclass(frozen=True)
class Job:
    """One message for one node, with what the node's ClientApp must know."""

    message: Message
    context: Context


def serve(jobs: Connection, app: str, threads: int, environment: Mapping[str, str]) -> None:
    """Answer messages until the other end closes; end at once when the engine's process dies.

    Parameters
    ----------
    jobs : Connection
        Brings a `Job` at a time, takes back the reply and the node's state.
    app : str
        The ClientApp as ``module:attribute``.
    threads : int
        Threads that numerical libraries may use.
    environment : mapping of str to str
        Environment of the engine's process.
    """
    take_environment(environment)
    ignore_interrupts()
    die_with_parent()
    os.environ[compat.SIMULATION_VARIABLE] = "1"
    os.environ["OMP_NUM_THREADS"] = str(threads)
    compat.disable_telemetry()
    module, attribute = app.split(":")
    client_app: ClientApp = getattr(importlib.import_module(module), attribute)
    while True:
        try:
            job: Job = jobs.recv()
        except (EOFError, OSError):
            return
        reply = _answer(client_app, job)
        try:
            jobs.send((reply, job.context.state))
        except (BrokenPipeError, OSError):
            return


def _answer(client_app: ClientApp, job: Job) -> Message:
    compat.identify_process(job.context.run_id, job.context.node_id)
    try:
        return client_app(job.message, job.context)
    except Exception as error:
        return Message(Error(compat.ErrorCode.CLIENT_APP_RAISED_EXCEPTION, safe_reason(error)), reply_to=job.message)
