"""Digests of records: two records of one digest hold the same names and values, to the last bit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord


def digest_record(record: object, without: Collection[str] = ()) -> str:
    """Return the SHA-256 of a record, in hexadecimal.

    Parameters
    ----------
    record : ArrayRecord, MetricRecord or ConfigRecord
        The record.
    without : collection of str
        Keys of a MetricRecord or ConfigRecord that do not count.
    """
    if not isinstance(record, ArrayRecord):
        return hashlib.sha256(values_json(record, without)).hexdigest()
    digest = hashlib.sha256()
    for name, array in record.items():
        digest.update(f"{name}|{array.dtype}|{array.shape}|".encode())
        digest.update(array.data)
    return digest.hexdigest()


def values_json(record: object, without: Collection[str] = ()) -> bytes:
    """Return the values of a record in the one spelling that is digested: JSON, sorted, bytes in hexadecimal."""
    values: Mapping[str, Any] = dict(record.items()) if isinstance(record, MetricRecord | ConfigRecord) else {}
    kept = {key: _to_json_value(value) for key, value in values.items() if key not in without}
    return json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()


def _to_json_value(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else [_to_json_value(v) for v in value] if isinstance(value, list) else value
