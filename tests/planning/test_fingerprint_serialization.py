"""A fingerprint survives a message and a file, and one that cannot be is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from medfl.errors import ExchangeError
from medfl.messages import records
from medfl.planning.fingerprint import Fingerprint
from medfl.planning.fingerprint_serialization import from_content, from_json, to_content, to_json


@pytest.fixture
def fingerprint(made: SimpleNamespace) -> Fingerprint:
    found: Fingerprint = made.added(made.CT, [made.abdomen(k) for k in range(12)]).suppress(10)
    return found


def test_message_holds_numbers_that_add_up_and_no_pickle(made: SimpleNamespace, fingerprint: Fingerprint) -> None:
    content = to_content("hospital-a", fingerprint, {records.EXCLUDED: "NII-4D=12"})
    assert made.same(from_content(content), fingerprint)
    assert all(array.dtype == np.int64 for array in records.array_views(content.array_records[records.ARRAYS]).values())
    assert dict(content.config_records[records.SITE]) == {"name": "hospital-a", records.EXCLUDED: "NII-4D=12"}


def test_file_holds_every_number_that_leaves(made: SimpleNamespace, fingerprint: Fingerprint) -> None:
    text = to_json(fingerprint)
    assert made.same(from_json(text), fingerprint)
    assert set(json.loads(text)) >= set(fingerprint.arrays())


Change = Callable[[dict[str, Any]], object]
WRONG: dict[str, Change] = {
    "another format": lambda d: d.update(format="medfl fingerprint 0"),
    "no cases": lambda d: d.update(cases=0),
    "more cases than counts": lambda d: d.update(cases=13),
    "a fraction": lambda d: d.update(cases=12.0),
    "truth": lambda d: d.update(cropped=True),
    "a negative count": lambda d: d.update(present=[12, -1]),
    "more than all cases": lambda d: d.update(present=[12, 13]),
    "an array too few": lambda d: d.pop("squares"),
    "an axis too few": lambda d: d["size"].pop("z"),
    "a bin that is none": lambda d: d["size"]["x"].update({"100000": 1}),
    "weights without cases": lambda d: d.update(marked=3),
    "an impossible mean": lambda d: d.update(means=[2**62]),
    "beyond 64 bits": lambda d: d.update(squares=[2**70]),
    "no number": lambda d: d.update(means=["1"]),
    "too many channels": lambda d: d.update(channels=10**9),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_an_impossible_fingerprint_is_refused(fingerprint: Fingerprint, change: Change) -> None:
    document = json.loads(to_json(fingerprint))
    change(document)
    with pytest.raises(ExchangeError, match="FINGERPRINT-UNREADABLE"):
        from_json(json.dumps(document))


@pytest.mark.parametrize("text", ["", "[]", "null", '{"format": "medfl fingerprint 1"}', "{"])
def test_any_other_file_is_refused(text: str) -> None:
    with pytest.raises(ExchangeError, match="FINGERPRINT-UNREADABLE"):
        from_json(text)


def test_messages_without_one_or_with_other_arrays_are_refused(fingerprint: Fingerprint) -> None:
    short = to_content("a", fingerprint)
    short[records.ARRAYS] = records.to_array_record({**fingerprint.arrays(), "size": np.zeros((3, 4), np.int64)})
    real = to_content("a", fingerprint)
    real[records.ARRAYS] = records.to_array_record(
        {name: array.astype(np.float64) for name, array in fingerprint.arrays().items()}
    )
    overflow = to_content("a", fingerprint)
    none = {"marked": np.asarray(0), "means": np.zeros(1, np.int64), "squares": np.zeros(1, np.int64)}
    huge = np.full_like(fingerprint.intensities, 2**52)  # 4096 of them are 0 in 64 bits
    overflow[records.ARRAYS] = records.to_array_record({**fingerprint.arrays(), **none, "intensities": huge})
    for content in (
        RecordDict({records.CONFIG: ConfigRecord(), records.ARRAYS: ArrayRecord()}),
        RecordDict(),
        short,
        real,
        overflow,
    ):
        with pytest.raises(ExchangeError, match="FINGERPRINT-UNREADABLE"):
            from_content(content)
