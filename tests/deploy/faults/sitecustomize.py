"""Faults for tests with real processes: on PYTHONPATH, this makes a process die or wait at one exact point, once.

It also lets SuperNodes send more heartbeats, so that one that died is noticed after 24 seconds instead of 60.

``MEDFL_FAULT`` is ``stage:round:marker``; the fault hits the first process that gets there, which creates the marker file.
With ``*`` as the stage, the marker file exists before, names the stage, and is removed by the fault.
medfl itself knows nothing of this.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

STAGE, _, REST = os.environ.get("MEDFL_FAULT", "").partition(":")
ROUND, _, MARKER = REST.partition(":")
_ME = " ".join(sys.orig_argv)


def _first() -> bool:
    if STAGE == "*":
        Path(MARKER).unlink()
        return True
    try:
        os.close(os.open(MARKER, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    return True


def _die() -> None:
    if _first():
        os.kill(os.getpid(), signal.SIGKILL)


def _server() -> None:  # noqa: C901 - one fault each
    from medfl.grids.streaming import StreamingGrid
    from medfl.runs import checkpoint_files
    from medfl.strategies.fedavg import FedAvg

    now = {"round": 0, "folded": 0}
    configure, take, send, receive = (
        FedAvg.configure_train,
        FedAvg.add_reply,
        StreamingGrid.send_and_receive,
        StreamingGrid._iter_replies,
    )
    commit = checkpoint_files.commit

    def configured(self, server_round, *rest):  # type: ignore[no-untyped-def]
        now["round"] = server_round
        return configure(self, server_round, *rest)

    def is_at(stage: str) -> bool:
        wanted = Path(MARKER).read_text() if STAGE == "*" and Path(MARKER).exists() else STAGE
        return stage == wanted and now["round"] == int(ROUND)

    def sending(self, messages, **options):  # type: ignore[no-untyped-def]
        if is_at("before-send"):
            _die()
        return send(self, messages, **options)

    def receiving(self, pending, end):  # type: ignore[no-untyped-def]
        if is_at("while-sites-train"):
            time.sleep(1.0)
            _die()
        return receive(self, pending, end)

    def folding(self, reply):  # type: ignore[no-untyped-def]
        take(self, reply)
        if is_at("while-folding"):
            _die()

    def committing(path):  # type: ignore[no-untyped-def]
        commit(path)
        if is_at("while-the-checkpoint-is-written"):
            _die()

    FedAvg.configure_train, FedAvg.add_reply = configured, folding
    StreamingGrid.send_and_receive, StreamingGrid._iter_replies = sending, receiving
    checkpoint_files.commit = committing


def _site() -> None:
    from medfl.clients import session

    train = session.train

    def training(task, *rest):  # type: ignore[no-untyped-def]
        if STAGE.startswith("raise ") and task.server_round == int(ROUND):
            raise ValueError(STAGE.removeprefix("raise "))
        if task.server_round == int(ROUND) and _first():
            time.sleep(float(os.environ["MEDFL_FAULT_SECONDS"]))
        return train(task, *rest)

    session.train = training


def _supernode() -> None:
    from flwr.supercore import heartbeat
    from flwr.supernode import fleet_http_connection

    for module in (heartbeat, fleet_http_connection):
        vars(module)["HEARTBEAT_DEFAULT_INTERVAL"] = 12


AT_A_SITE = STAGE == "delay" or STAGE.startswith("raise ")
if STAGE and "flwr-serverapp" in _ME and not AT_A_SITE:
    _server()
elif AT_A_SITE and "medfl.deploy.site_worker" in _ME:
    _site()
elif "medfl.deploy.supernode" in _ME:
    _supernode()
