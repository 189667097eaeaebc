"""Private or undocumented names of Flower that medfl uses in every process; those of a hospital's worker are in `tasks`.

Tested with flwr 1.42. When a new version moves a name, ``tests/flower/test_compat.py`` fails first.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import MutableMapping

from flwr.app import ConfigRecord, Message, MetricRecord
from flwr.clientapp.typing import ClientAppCallable as ClientAppCallable
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.common.constant import ErrorCode as ErrorCode
from flwr.proto.node_pb2 import NodeInfo as NodeInfo
from flwr.supercore.run import Run as Run
from flwr.supercore.task_identity import TaskIdentity

SERVER_NODE_ID: int = SUPERLINK_NODE_ID

SIMULATION_VARIABLE = "MEDFL_SIMULATION"

QUIET_ENVIRONMENT = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}


def disable_telemetry(environment: MutableMapping[str, str] | None = None) -> None:
    """Turn off Flower's telemetry, update check and installation of dependencies at run time, here and in child processes."""
    (os.environ if environment is None else environment).update(QUIET_ENVIRONMENT)


def is_simulation() -> bool:
    """Return whether this process answers for simulated hospitals, which no server can make it believe from outside.

    The embedded engine sets the variable in its workers, and Flower's own runtime runs a ClientApp inside Ray. Neither is the
    case at a hospital.
    """
    return SIMULATION_VARIABLE in os.environ or "ray" in sys.modules


def identify_process(run_id: int, node_id: int) -> None:
    """Tell Flower which run and node this process answers for, without which no Message can be made."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run_id, node_id, 0


def empty_run(run_id: int) -> Run:
    """Return a Run that has only its number."""
    return Run.create_empty(run_id)


def assign_message_id(message: Message) -> str:
    """Give a message its identifier, as a SuperLink does when it receives one."""
    message_id = str(uuid.uuid4())
    set_message_id(message, message_id)
    return message_id


def set_message_id(message: Message, message_id: str) -> None:
    """Give a message the identifier of another, so that a reply to the one counts as a reply to the other."""
    message.metadata.__dict__["_message_id"] = message_id


def hide_times(reply: Message, message: Message) -> None:
    """Let a reply say when its message was made, not when it was itself: that tells to the microsecond how long the work took.

    It expires when it would have expired anyhow, which is when the message does.
    """
    reply.metadata.created_at, reply.metadata.ttl = message.metadata.created_at, message.metadata.ttl


def wire_size(record: MetricRecord | ConfigRecord) -> int:
    """Return the bytes of a record as Flower sends it."""
    return len(record.deflate())


def mark_as_from_server(message: Message) -> None:
    """Name the server as the sender of a message, as a SuperLink does in the error that it sends instead of a lost reply."""
    message.metadata.__dict__["_src_node_id"] = SERVER_NODE_ID
