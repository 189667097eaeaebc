"""Tasks of a hospital's SuperNode: its worker takes each message and answers it, by private names of Flower.

Kept apart from `medfl.flower.compat`, which every process imports, because these imports take half a second. When a new version
of Flower moves a name, ``tests/flower/test_compat.py`` fails first.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.app import Context, Message
from flwr.common.constant import HEARTBEAT_DEFAULT_INTERVAL, SubStatus
from flwr.proto.node_pb2 import Node
from flwr.proto.run_pb2 import GetRunRequest
from flwr.proto.runtime_pb2 import AcquireTaskRequest, SendTaskHeartbeatRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.error import ApiErrorCode, FlowerError
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.protobuf.client import ProtobufClient
from flwr.supercore.run import Run
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output

from medfl.errors import DeployError
from medfl.study.study_file import Scalar

CLIENT_TASK: str = TaskType.CLIENT_APP
HEARTBEAT: float = HEARTBEAT_DEFAULT_INTERVAL / 3  # seconds; the SuperNode abandons a task after two intervals without one

_BUSY_TIMEOUT_MS = 25_000  # the client gives up after 30 seconds
_REFUSED_STATUSES = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)
_ACQUIRE = "/flwr.proto.Runtime/AcquireTask"
_TASK_TYPES = (TaskType.CLIENT_APP, TaskType.AGENT_APP)  # all that a SuperNode queues: a task that nobody takes waits for ever


class Unreachable(Exception):
    """Error when the other process does not answer, or no longer knows the task."""


@dataclass(frozen=True)
class TaskToken:
    """Token that allows its holder to handle one message."""

    kind: str
    token: str


@dataclass(frozen=True)
class TaskInput:
    """One message for this site, with what came along with it. Nothing of the bundle has been unpacked.

    Parameters
    ----------
    message : Message
        Message as the server sent it.
    context : Context
        Context with the run configuration that the SuperNode made from bundle and overrides.
    run : int
        Flower's number of the run.
    bundle : bytes
        The study's bundle, a zip file.
    overrides : mapping
        Changes to the bundle's configuration by the person who submitted the run.
    """

    message: Message
    context: Context
    run: int
    bundle: bytes
    overrides: Mapping[str, Scalar]


class NodeTasks:
    """Tasks of the SuperNode of this machine; a process that knows its secret may take them.

    Parameters
    ----------
    address : str
        Address of the SuperNode's own interface, on loopback.
    secret : bytes
        Shared with the SuperNode.
    """

    def __init__(self, address: str, secret: bytes) -> None:
        self._address = address
        auth = SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=frozenset({_ACQUIRE}))
        self._client = _runtime_client(address, auth)

    def acquire(self) -> TaskToken | None:
        """Take the task that has waited longest; return None when none waits or the SuperNode does not answer.

        Raises
        ------
        DeployError
            ``NODE-FOREIGN`` when the SuperNode does not accept the secret: another one has the address.
        """
        try:
            response = self._client.AcquireTask(AcquireTaskRequest(supported_task_types=_TASK_TYPES))
        except httpx.HTTPError as error:
            if isinstance(error, httpx.HTTPStatusError) and error.response.status_code in _REFUSED_STATUSES:
                what = "the SuperNode of this machine does not accept the secret of this start."
                raise DeployError(
                    "NODE-FOREIGN", what, "End the other process that runs this site, and start it again."
                ) from None
            return None
        return TaskToken(response.task.type, response.token) if response.HasField("task") and response.token else None

    def open_task(self, token: TaskToken) -> NodeTask:
        """Return the task of a token, ready to be pulled."""
        return NodeTask(_runtime_client(self._address, RuntimeTokenHttpInterceptor(token.token)))


class NodeTask:
    """One task: its message is pulled, a heartbeat is sent while it is worked on, and the answer is pushed."""

    def __init__(self, client: RuntimeHttpClient) -> None:
        self._client = client
        self._context: Context | None = None

    def pull(self) -> TaskInput:
        """Fetch the message and what came with it.

        Raises
        ------
        Unreachable
            When the SuperNode is gone.
        """
        try:
            message, context, run, fab = pull_task_input(self._client)
        except (httpx.HTTPError, RuntimeError) as error:
            raise Unreachable from error
        self._context = context
        return TaskInput(message, context, run.run_id, fab.content, _override_config(run))

    def send_heartbeat(self) -> bool:
        """Tell the SuperNode that the work goes on; return False when it no longer knows the task."""
        try:
            return bool(self._client.SendTaskHeartbeat(SendTaskHeartbeatRequest()).success)
        except httpx.TransportError:
            return True  # it may be busy, or restart; if the task is lost, pushing the answer fails
        except httpx.HTTPStatusError as error:
            return error.response.status_code in (httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT)

    def push(self, reply: Message) -> None:
        """Give the answer to the SuperNode, which sends it on.

        Raises
        ------
        Unreachable
            When the SuperNode is gone, or has abandoned the task.
        """
        assert self._context is not None, "a task is pulled before it is answered"
        try:
            push_message(self._client, reply, self._context)
        except (httpx.HTTPError, RuntimeError, ValueError) as error:
            raise Unreachable from error

    def finish(self, *, well: bool) -> None:
        """Close the task. The reason of a failure is not given: it would stay in the SuperNode's memory."""
        status = SubStatus.COMPLETED if well else SubStatus.FAILED
        push_task_output(self._client, self._context, status, "" if well else "See the log of the site.")
        self._client.close()


class ServerLink:
    """Connection to the server outside the exchanges, for the question whether a run still goes on.

    Parameters
    ----------
    address : str
        Address that the server publishes, host:port.
    ca : Path
        Certificate of the authority that signed the server's.
    key : Path
        The site's private key, OpenSSH format.
    """

    def __init__(self, address: str, ca: Path, key: Path) -> None:
        private = load_ssh_private_key(key.read_bytes(), None)
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise ValueError("the key of the site is not an elliptic-curve key")
        self._client = FleetHttpClient.from_server_address(
            address,
            False,
            str(ca),
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name="SuperNode"),
                NodeAuthHttpInterceptor(private, private.public_key()),
            ],
        )

    def is_over(self, run: int, node: int) -> bool:
        """Return whether the server says that a run is no longer running; False when it does not answer."""
        try:
            self._client.GetRun(GetRunRequest(node=Node(node_id=node), run_id=run))
        except httpx.HTTPStatusError as error:
            reason = FlowerError.from_json(error.response.text)
            return reason is not None and reason.code == ApiErrorCode.FLEET_RUN_STATUS_NOT_ALLOWED
        except (httpx.HTTPError, ValueError):  # ValueError: something other than Flower answers at the address
            return False
        return False


def run_superlink() -> None:
    """Run Flower's SuperLink in this process, with the arguments of the command line.

    While one request writes a large model to the database, another one may wait longer than the 5 seconds that Flower allows,
    after which a run would end with "database is locked". What it removes is overwritten.
    """
    from flwr.supercore import sql_mixin
    from flwr.supercore.constant import SQLITE_PRAGMAS
    from flwr.superlink.cli.flower_superlink import flower_superlink

    pragmas = dict(SQLITE_PRAGMAS) | {"busy_timeout": str(_BUSY_TIMEOUT_MS), "secure_delete": "ON"}
    vars(sql_mixin)["SQLITE_PRAGMAS"] = tuple(pragmas.items())
    flower_superlink()


def use_client_certificate(certificate: Path, key: Path) -> None:
    """Present a certificate to every server that this process connects to over TLS from now on; Flower has no setting for that.

    Parameters
    ----------
    certificate, key : Path
        PEM files.
    """
    original = ProtobufClient.__init__

    def with_certificate(
        self: ProtobufClient, base_url: str, *, verify: ssl.SSLContext | bool | str = True, **rest: Any
    ) -> None:
        if isinstance(verify, str):
            verify = ssl.create_default_context(cafile=verify)
        if isinstance(verify, ssl.SSLContext):
            verify.load_cert_chain(certificate, key)
        original(self, base_url, verify=verify, **rest)

    ProtobufClient.__init__ = with_certificate  # type: ignore[method-assign]


def _runtime_client(address: str, interceptor: SuperExecAuthHttpInterceptor | RuntimeTokenHttpInterceptor) -> RuntimeHttpClient:
    version = RuntimeVersionHttpInterceptor(component_name="flwr-clientapp")
    return RuntimeHttpClient.from_server_address(
        server_address=address, insecure=True, root_certificates=None, interceptors=[version, interceptor]
    )


def _override_config(run: Run) -> dict[str, Scalar]:
    return dict(run.override_config)
