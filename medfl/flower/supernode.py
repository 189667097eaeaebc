"""Flower's SuperNode as a site runs it, by private names of Flower: each message that it took is answered, or given up whole.

Flower's SuperNode handles one message after the other: it receives one, waits for a reply, and sends that. It does not look
whose reply came. So the reply to a message that it gave up is sent instead of the awaited one, which then stays for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from flwr.app import Error, Message
from flwr.common.constant import ErrorCode, Status, SubStatus
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.object_store import ObjectStore
from flwr.supernode import fleet_http_connection, start_client_internal
from flwr.supernode.cli import flower_supernode
from flwr.supernode.nodestate import nodestate_factory
from flwr.supernode.nodestate.in_memory_nodestate import InMemoryNodeState

from medfl.errors import safe_sentence
from medfl.flower.tasks import use_client_certificate

_POLL_INTERVAL = 1.0  # seconds between the SuperNode's looks for a message
_UNANSWERED = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, safe_sentence("SITE-ERROR"))

_receive = start_client_internal._pull_and_store_message


def run_supernode(certificate: Path | None, key: Path | None) -> None:
    """Run Flower's SuperNode in this process, with the arguments of the command line.

    Parameters
    ----------
    certificate, key : Path, optional
        PEM files that the site presents to a proxy which asks for them; Flower has no setting for that.
    """
    if certificate is not None and key is not None:
        use_client_certificate(certificate, key)
    vars(start_client_internal).update(time=_Clock, _pull_and_store_message=receive_or_give_up)
    vars(nodestate_factory)["InMemoryNodeState"] = AnsweringNodeState
    vars(fleet_http_connection)["HeartbeatSender"] = LastingHeartbeat
    flower_supernode()


def receive_or_give_up(state: InMemoryNodeState, object_store: ObjectStore, **rest: Any) -> int | None:
    """Receive a message as Flower does; if that fails half-way, keep nothing of it.

    Flower keeps the message, and its task, when the run ended while the message was received, for example because the server
    went down meanwhile and the run was resumed. The worker answers it, or its task expires and Flower answers it.

    Parameters
    ----------
    state, object_store
        What the SuperNode holds.
    **rest
        The connection to the server, as Flower's own function takes it.

    Returns
    -------
    int, optional
        Flower's number of the run; None when no message came.
    """
    run: int | None = _receive(state=state, object_store=object_store, **rest)
    if run is None:
        _give_up_everything(state, object_store)
    return run


def _give_up_everything(state: InMemoryNodeState, object_store: ObjectStore) -> None:
    # Tasks first: a worker whose task is finished can no longer answer
    for task in state.get_tasks(statuses=(Status.PENDING, Status.STARTING, Status.RUNNING)):
        state.finish_task(task.task_id, SubStatus.STOPPED, "The message was given up.")
    with state.lock_msg_store:
        identifiers = list(state.msg_store)
    state.delete_messages(message_ids=identifiers)
    for identifier in identifiers:
        object_store.delete(identifier)


class AnsweringNodeState(InMemoryNodeState):
    """What a SuperNode holds, with an answer to each message: a reply that does not come would be awaited for ever."""

    def claim_task(self, task_id: int) -> str | None:
        """Hand out a task once its message is there; Flower creates the task a moment before."""
        with self.lock_msg_store:
            asked = {entry.message.metadata.run_id for entry in self.msg_store.values() if not _is_reply(entry.message)}
        if not asked.issuperset(task.run_id for task in self.get_tasks(task_ids=[task_id])):
            return None
        token: str | None = super().claim_task(task_id)
        return token

    def finish_task(self, task_id: int, sub_status: str, details: str) -> bool:
        """Finish a task, and answer its message if nobody did."""
        finished: bool = super().finish_task(task_id, sub_status, details)
        if finished and sub_status == SubStatus.FAILED:
            self._store_error_replies({task.run_id for task in self.get_tasks(task_ids=[task_id])}, _UNANSWERED)
        return finished


def _is_reply(message: Message) -> bool:
    return bool(message.metadata.reply_to_message_id)


class LastingHeartbeat(HeartbeatSender):
    """Heartbeat that goes on after a failure at the server or its proxy, as when a disk was full for a moment.

    Flower's ends at any status but 502 to 504. Its SuperNode goes on without one, and counts as gone until it is started anew.

    Parameters
    ----------
    send : callable
        Sends one; returns False when it is to be sent again.
    """

    def __init__(self, send: Callable[[], bool]) -> None:
        def send_until_accepted() -> bool:
            try:
                return send()
            except httpx.HTTPStatusError:
                return False

        super().__init__(send_until_accepted)


class _Clock:
    """Replacement of the module `time` in the SuperNode's loop, which would sleep for 3 seconds between looks for a message."""

    time = staticmethod(time.time)

    @staticmethod
    def sleep(seconds: float) -> None:
        time.sleep(min(seconds, _POLL_INTERVAL))
