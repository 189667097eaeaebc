"""A warm process that answers for simulated hospitals, one message at a time."""

from __future__ import annotations

import importlib
import os
import signal
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection

from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp

from medfl.errors import safe_reason
from medfl.flower import compat


@dataclass(frozen=True)
class Job:
    """One message for one node, with what the node's ClientApp must know."""

    message: Message
    context: Context


def serve(errands: Connection, lifeline: Connection, app: str, threads: int) -> None:
    """Answer messages until the other end closes; ends at once when the engine's process dies.

    Parameters
    ----------
    errands : Connection
        Brings an `Job`, takes back the reply and the node's state.
    lifeline : Connection
        Never carries anything; its closing tells that nobody waits for this process any more.
    app : str
        The ClientApp as ``module:attribute``.
    threads : int
        Threads that numerical libraries may use.
    """
    ignore_interrupts()
    threading.Thread(target=_die_with_engine, args=(lifeline,), daemon=True).start()
    os.environ[compat.SIMULATION_VARIABLE] = "1"
    os.environ["OMP_NUM_THREADS"] = str(threads)
    compat.disable_telemetry()
    module, attribute = app.split(":")
    client_app: ClientApp = getattr(importlib.import_module(module), attribute)
    while True:
        try:
            errand: Job = errands.recv()
        except (EOFError, OSError):
            return
        reply = _answer(client_app, errand)
        try:
            errands.send((reply, errand.context.state))
        except (BrokenPipeError, OSError):
            return


def ignore_interrupts() -> None:
    """Leave Ctrl-C to the engine, which closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _answer(client_app: ClientApp, errand: Job) -> Message:
    compat.identify_process(errand.context.run_id, errand.context.node_id)
    try:
        return client_app(errand.message, errand.context)
    except Exception as error:
        return Message(Error(compat.CLIENT_APP_RAISED, safe_reason(error)), reply_to=errand.message)


def _die_with_engine(lifeline: Connection) -> None:
    try:
        lifeline.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)
