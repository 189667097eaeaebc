"""The signature on its way: no record of its own for Flower to carry, and what was signed afterwards as before."""

from __future__ import annotations

import pytest
from flwr.app import ConfigRecord, MetricRecord, RecordDict

from medfl.messages.embedded_signature import embed_signature, extract_signature
from medfl.messages.signatures import SIGNATURE, digest_content

SIGNED = ConfigRecord({"signature": b"\x00\x01", "statement": "{}"})


@pytest.fixture
def message() -> RecordDict:
    return RecordDict({"config": ConfigRecord({"round": 3, "run": "r"}), SIGNATURE: ConfigRecord({**SIGNED})})


def test_a_signature_comes_out_as_it_was_put_in_and_the_other_records_are_unchanged(message: RecordDict) -> None:
    before, shared = digest_content(message), message["config"]
    embed_signature(message, "config")
    assert set(message) == {"config"}
    assert dict(shared.items()) == {"round": 3, "run": "r"}  # others send the same record
    extract_signature(message, "config")
    assert digest_content(message) == before
    assert dict(message.config_records[SIGNATURE]) == dict(SIGNED)


def test_without_a_record_to_take_it_the_signature_travels_alone(message: RecordDict) -> None:
    message["config"] = MetricRecord({"round": 3})
    for _ in range(2):
        embed_signature(message, "config")
        extract_signature(message, "config")
    assert dict(message.config_records[SIGNATURE]) == dict(SIGNED)


def test_what_was_not_signed_stays_unsigned() -> None:
    message = RecordDict({"config": ConfigRecord({"round": 3})})
    embed_signature(message, "config")
    extract_signature(message, "config")
    assert set(message) == {"config"}
