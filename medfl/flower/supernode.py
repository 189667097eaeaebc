"""Flower's SuperNode as a site runs it, by private names of Flower: each message that it took is answered, or given up whole.

Flower's SuperNode handles one message after the other: it receives one, waits for a reply, and sends that. It does not look
whose reply came. So the reply to a message that it gave up is sent instead of the awaited one, which then stays for ever.
"""

from __future__ import annotations

import math
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from flwr.app import Error, Message
from flwr.common.constant import ErrorCode, Status, SubStatus
from flwr.supercore.object_store import ObjectStore
from flwr.supernode import start_client_internal
from flwr.supernode.cli import flower_supernode
from flwr.supernode.nodestate import nodestate_factory
from flwr.supernode.nodestate.in_memory_nodestate import InMemoryNodeState

from medfl.errors import safe_sentence
from medfl.flower.compat import hide_times
from medfl.flower.incoming_sizes import DEFAULT_MEGABYTES, MessageMeter, MessageTooLargeError
from medfl.flower.lasting_connection import use_lasting_connection
from medfl.flower.tasks import use_client_certificate

_POLL_INTERVAL = 1.0  # seconds between the SuperNode's looks for a message
_LOOP_ENDED = 1  # exit code
_UNANSWERED = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, safe_sentence("NOT-ANSWERED"))
_TOO_LARGE = Error(
    ErrorCode.CLIENT_APP_RAISED_EXCEPTION, safe_sentence("MESSAGE-SIZE")
)  # of a message, whatever the site holds

_receive, _insert = start_client_internal._pull_and_store_message, start_client_internal._insert_message


def run_supernode(
    certificate: Path | None, key: Path | None, sign: Path | None = None, megabytes: int = DEFAULT_MEGABYTES
) -> NoReturn:
    """Run Flower's SuperNode in this process, with the arguments of the command line, and end the process with it.

    Its loop runs beside a web server of its own, which would keep the process alive, and the site away, once the loop ended.

    Parameters
    ----------
    certificate, key : Path, optional
        PEM files that the site presents to a proxy which asks for them; Flower has no setting for that.
    sign : Path, optional
        File whose time of change is that of the server's last answer.
    megabytes : int
        The most that one message may have.
    """
    if certificate is not None and key is not None:
        use_client_certificate(certificate, key)
    vars(start_client_internal).update(time=_Clock, _pull_and_store_message=partial(receive_or_give_up, limit=megabytes << 20))
    vars(nodestate_factory)["InMemoryNodeState"] = AnsweringNodeState
    use_lasting_connection(sign)
    try:
        flower_supernode()
    except Exception as error:  # whatever it is, the line is the process's last word
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    sys.stderr.flush()
    os._exit(_LOOP_ENDED)


def receive_or_give_up(
    state: InMemoryNodeState, object_store: ObjectStore, limit: int = DEFAULT_MEGABYTES << 20, **rest: Any
) -> int | None:
    """Receive a message as Flower does; if that fails half-way, keep nothing of it.

    Flower keeps the message, and its task, when the run ended while the message was received, for example because the server
    went down meanwhile and the run was resumed. The worker answers it, or its task expires and Flower answers it.

    Parameters
    ----------
    state, object_store
        What the SuperNode holds.
    limit : int
        Bytes that a message may have; a larger one is refused, and nothing of it is kept.
    **rest
        The connection to the server, as Flower's own function takes it.

    Returns
    -------
    int, optional
        Flower's number of the run; None when no message came.
    """
    meter = MessageMeter(rest.pop("receive"), rest.pop("pull_object"), limit)
    try:
        run: int | None = _receive(
            state=state, object_store=object_store, receive=meter.receive, pull_object=meter.pull_object, **rest
        )
    except MessageTooLargeError:  # too many objects are found before Flower stores anything, and too many bytes after it
        run = None
    if run is None:
        _give_up_everything(state, object_store)
    if meter.is_too_large and meter.message is not None:
        _insert(_error_reply(_TOO_LARGE, meter.message), state, object_store)
        return int(meter.message.metadata.run_id)
    return run


def _error_reply(error: Error, message: Message) -> Message:
    reply = Message(error, reply_to=message)
    hide_times(reply, message)
    return reply


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

    def get_message_processing_duration(self, message_id: str) -> float:
        """Return how long the work on a message took, in whole seconds: Flower would tell the server microseconds."""
        return float(math.ceil(super().get_message_processing_duration(message_id)))

    def _store_error_replies(self, run_ids: set[int], error: Error) -> None:
        """Answer what was not answered as Flower does, but with one code: that a worker died may depend on its data, too."""
        with self.lock_msg_store:
            entries = list(self.msg_store.values())
            answered = {entry.message.metadata.reply_to_message_id for entry in entries}
            for entry in entries:
                message = entry.message
                about = message.metadata
                if _is_reply(message) or not entry.is_retrieved or about.run_id not in run_ids or about.message_id in answered:
                    continue
                reply = _error_reply(_UNANSWERED, message)
                reply.metadata.__dict__["_message_id"] = reply.object_id
                self._store_generated_message(reply)
                self.record_message_processing_end(about.message_id)
                self.store_message(reply)


def _is_reply(message: Message) -> bool:
    return bool(message.metadata.reply_to_message_id)


class _Clock:
    """Replacement of the module `time` in the SuperNode's loop, which would sleep for 3 seconds between looks for a message."""

    time = staticmethod(time.time)

    @staticmethod
    def sleep(seconds: float) -> None:
        time.sleep(min(seconds, _POLL_INTERVAL))
