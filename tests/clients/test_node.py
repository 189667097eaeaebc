"""What a node answers, and what it takes from nobody."""

from __future__ import annotations

from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict

from medfl import client_app
from medfl.flower import compat
from medfl.messages import records
from medfl.study import read_run_config


def test_a_real_node_without_a_site_is_not_taken_for_a_simulated_one(
    nodule_study: Path, nodule_hospitals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compat.identify_process(1, compat.SERVER_NODE_ID)
    message = Message(RecordDict({records.CONFIG: ConfigRecord()}), dst_node_id=2, message_type=records.JOIN)
    run_config = read_run_config(nodule_study) | {"simulation.data": str(nodule_hospitals)}
    context = Context(1, 2, {"partition-id": 0, "num-partitions": 3}, RecordDict(), run_config)
    assert client_app.app(message, context).has_content()
    monkeypatch.delenv(compat.SIMULATION_VARIABLE)
    monkeypatch.delitem(__import__("sys").modules, "ray", raising=False)
    reply = client_app.app(message, context)
    assert reply.error.reason == "[CONFIG] The details are in the log of the site."
