"""Private names of Flower: these tests fail first when a new version moves one."""

from __future__ import annotations

from typing import Any

import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import strategy as flower

from medfl.flower import compat
from medfl.flower.privacy_wrappers import WRAPPERS, find_planned_replies
from medfl.testing.fake_grid import FakeGrid


def test_a_message_can_be_made_and_identified_outside_of_flowers_processes() -> None:
    compat.identify_process(run_id=7, node_id=compat.SERVER_NODE_ID)
    message = Message(RecordDict(), dst_node_id=3, message_type="query.join")
    identifier = compat.assign_message_id(message)
    assert message.metadata.message_id == identifier
    assert message.metadata.run_id == 7
    reply = Message(RecordDict(), reply_to=message)
    assert (reply.metadata.reply_to_message_id, reply.metadata.src_node_id) == (identifier, 3)
    compat.mark_as_from_server(reply)
    assert reply.metadata.src_node_id == compat.SERVER_NODE_ID


def test_flower_sends_no_telemetry() -> None:
    environment: dict[str, str] = {}
    compat.disable_telemetry(environment)
    assert environment["FLWR_TELEMETRY_ENABLED"] == "0"
    assert environment["FLWR_DISABLE_UPDATE_CHECK"] == "1"


def test_an_empty_run_has_its_number() -> None:
    assert compat.empty_run(5).run_id == 5


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapper_for_differential_privacy_is_found_from_within_its_strategy(wrapper: Any) -> None:
    found = []

    class Looking(flower.FedAvg):
        def configure_train(self, *_: Any) -> Any:
            found.append(find_planned_replies())
            raise StopIteration

    norm = {"clipping_norm": 1.0} if "Fixed" in wrapper.__name__ else {}
    wrapped = wrapper(Looking(), noise_multiplier=0.1, num_sampled_clients=7, **norm)
    for strategy in (wrapped, Looking()):
        with pytest.raises(StopIteration):
            strategy.start(FakeGrid({}), ArrayRecord(), num_rounds=1)
    assert found == [7, 0]
    assert {kind.__name__ for kind in WRAPPERS} == {name for name in flower.__all__ if name.startswith("DifferentialPrivacy")}


def test_the_names_that_a_worker_and_the_servers_need_exist() -> None:
    """The SuperNode's loop sleeps with its module's `time`, and the database reads its settings from a constant."""
    from flwr.supercore import sql_mixin
    from flwr.supernode import fleet_http_connection, start_client_internal
    from flwr.supernode.nodestate import nodestate_factory

    import medfl.flower.tasks

    assert medfl.flower.tasks.CLIENT_TASK == "flwr-clientapp"
    assert {"time", "_pull_and_store_message"} <= vars(start_client_internal).keys()
    assert "InMemoryNodeState" in vars(nodestate_factory)
    assert {"FleetHttpClient", "HeartbeatSender", "make_simple_http_retry_invoker"} <= vars(fleet_http_connection).keys()
    assert ("busy_timeout", "5000") in vars(sql_mixin)["SQLITE_PRAGMAS"]


def test_a_reply_can_hide_when_it_was_made() -> None:
    compat.identify_process(run_id=7, node_id=compat.SERVER_NODE_ID)
    message = Message(RecordDict(), dst_node_id=3, message_type="query.join")
    message.metadata.created_at -= 100.0
    reply = Message(RecordDict(), reply_to=message)
    expires = reply.metadata.created_at + reply.metadata.ttl
    compat.hide_times(reply, message)
    assert reply.metadata.created_at == message.metadata.created_at
    assert reply.metadata.created_at + reply.metadata.ttl == pytest.approx(expires)


def test_the_size_of_a_record_on_the_wire_is_known() -> None:
    sizes = [compat.wire_size(ConfigRecord({"text": " " * length})) for length in (2000, 3000)]
    assert sizes[1] - sizes[0] == 1000
