"""Every private or undocumented name of Flower that medfl uses. A new version of Flower is the work of this one file.

Tested with flwr 1.42; ``tests/flower/test_compat.py`` fails first when a name moves.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import MutableMapping

from flwr.app import Message
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.proto.node_pb2 import NodeInfo as NodeInfo
from flwr.supercore.run import Run as Run
from flwr.supercore.task_identity import TaskIdentity

SERVER_NODE_ID: int = SUPERLINK_NODE_ID
CLIENT_APP_RAISED: int = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
CLIENT_APP_CRASHED: int = ErrorCode.CLIENT_APP_CRASHED
NODE_UNAVAILABLE: int = ErrorCode.NODE_UNAVAILABLE

SIMULATION_VARIABLE = "MEDFL_SIMULATION"

QUIET_ENVIRONMENT = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}


def disable_telemetry(environment: MutableMapping[str, str] | None = None) -> None:
    """Turn off Flower's telemetry, update check and installation of dependencies at run time, here and in children."""
    (os.environ if environment is None else environment).update(QUIET_ENVIRONMENT)


def is_simulation() -> bool:
    """Tell whether this process answers for simulated hospitals: something that no server can set from outside.

    The embedded engine sets the variable in its workers; Flower's own runtime runs a ClientApp inside of Ray. A SuperNode of
    a hospital has neither.
    """
    return SIMULATION_VARIABLE in os.environ or "ray" in sys.modules


def identify_process(run_id: int, node_id: int) -> None:
    """Tell Flower which node this process speaks for; its Message refuses to be made without."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run_id, node_id, 0


def empty_run(run_id: int) -> Run:
    """Return a Run with nothing but its number."""
    return Run.create_empty(run_id)


def assign_message_id(message: Message) -> str:
    """Give a message its identifier, as a SuperLink does when it takes one in."""
    message_id = str(uuid.uuid4())
    message.metadata.__dict__["_message_id"] = message_id
    return message_id


def copy_message_id(message: Message, other: Message) -> None:
    """Give a message the identifier of another, so that a reply to that one is taken for one to this."""
    message.metadata.__dict__["_message_id"] = other.metadata.message_id
