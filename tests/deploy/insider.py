"""An enrolled hospital that sends another one messages as if it were the server, by Flower's own protocol."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Message
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree, no_object_id_recompute
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_push_object_fn_protobuf
from flwr.supercore.inflatable.inflatable_utils import push_objects
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from medfl.flower import compat


class Insider:
    """A node that speaks to the server with a key that is enrolled; the process must show its certificate already.

    Parameters
    ----------
    address : str
        Address of the server.
    ca : Path
        Certificate of the federation's authority.
    key : EllipticCurvePrivateKey
        Key of the hospital.
    node : int
        Its node, which its own SuperNode is told.
    """

    def __init__(self, address: str, ca: Path, key: ec.EllipticCurvePrivateKey, node: int) -> None:
        auth = NodeAuthHttpInterceptor(key, key.public_key())
        interceptors = [RuntimeVersionHttpInterceptor(component_name="SuperNode"), auth]
        self._client = FleetHttpClient.from_server_address(address, False, str(ca), interceptors=interceptors)
        self.node = Node(node_id=node)

    def push_as_server(self, message: Message) -> bool:
        """Push a message whose source is the server; return whether Flower took it."""
        compat.mark_as_from_server(message)
        with no_object_id_recompute():
            compat.set_message_id(message, message.object_id)
            tree, objects = get_object_tree(message), get_all_nested_objects(message)
        bare = Message(message.content, dst_node_id=message.metadata.dst_node_id, message_type=message.metadata.message_type)
        bare.metadata.__dict__.update(message.metadata.__dict__)
        bare.content = type(message.content)()
        answer = self._client.PushMessages(
            PushMessagesRequest(node=self.node, messages_list=[message_to_proto(bare)], message_object_trees=[tree])
        )
        run = message.metadata.run_id
        push = make_push_object_fn_protobuf(self._client.PushObject, self.node, run, answer.session_id)
        wanted = set(answer.objects_to_push)
        push_objects(objects, push, object_ids_to_push=wanted)
        return message.metadata.message_id in wanted

    def close(self) -> None:
        """End the connection."""
        self._client.close()
