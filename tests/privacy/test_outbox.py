"""The outbox: what it holds of an answer, and that nothing in it is lost or doubled."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord, MetricRecord, RecordDict

from medfl.messages import records
from medfl.privacy.outbox import OutboxEntry, describe_answer, has_left, list_outgoing, read_entry, write_outgoing
from medfl.privacy.questions import Item, Question

SCORED = Question(Item("federated", "validation", 2), "run-1", "digest-1", 1)


def message(**tensors: object) -> RecordDict:
    return RecordDict({records.ARRAYS: records.to_array_record({n: np.asarray(t) for n, t in tensors.items()})})


def entry(state: str = "left", question: Question = SCORED, **changes: object) -> OutboxEntry:
    return describe_answer(state, "tiny", "hash", question, **changes)  # type: ignore[arg-type]


def test_an_entry_is_read_as_it_was_written(tmp_path: Path) -> None:
    content = message(w=np.array([3.0, 4.0], np.float32), steps=np.array([7]))
    content[records.METRICS] = MetricRecord({"eval.loss": math.nan, "eval.confusion": [1, 2]})
    content[records.SITE] = ConfigRecord({"name": "a", records.EXCHANGE: "x1", records.PADDING: "   "})
    written = entry(content=content, received=message(w=np.array([3.0, 3.0], np.float32), steps=np.array([6])))
    path = write_outgoing(tmp_path, written)
    (found,) = list_outgoing(tmp_path)
    assert found.numbers == {"eval.loss": "nan", "eval.confusion": [1, 2]}
    assert found.words == {"name": "a"}
    (arrays,) = found.arrays
    assert (arrays.norm, arrays.change, arrays.tensors) == (5.0, 1.0, 2)  # of floating-point values
    assert found == read_entry(path)


def test_a_compressed_update_has_no_change_to_the_model(tmp_path: Path) -> None:
    sent = message(**{"codec/int8": np.array([1], np.int8)})
    assert entry(content=sent, received=message(w=np.zeros(1))).arrays[0].change is None


def test_a_large_tensor_is_measured_to_its_end() -> None:
    large = np.zeros(1_000_003, np.float32)
    large[-1] = 2.0
    assert entry(content=message(w=large), received=message(w=np.zeros_like(large))).arrays[0].norm == 2.0


def test_no_folder_of_the_outbox_can_be_read_by_others(tmp_path: Path) -> None:
    write_outgoing(tmp_path / "budget", entry())
    for folder in (path for path in (tmp_path / "budget").rglob("*") if path.is_dir()):
        assert folder.stat().st_mode & 0o077 == 0
    assert (tmp_path / "budget").stat().st_mode & 0o077 == 0


def test_an_answer_to_joining_is_known_to_have_left_however_it_was_asked_for(tmp_path: Path) -> None:
    asked = Question(Item("", "join"), "r1", "a", 1)
    write_outgoing(tmp_path, describe_answer("left", "tiny", "hash", asked, message()))
    assert has_left(tmp_path, "hash", replace(asked, digest="b"))


def test_what_waited_is_replaced_when_it_leaves(tmp_path: Path) -> None:
    write_outgoing(tmp_path, entry("waits"))
    assert not has_left(tmp_path, "hash", SCORED)
    write_outgoing(tmp_path, entry())
    assert has_left(tmp_path, "hash", SCORED)
    assert not has_left(tmp_path, "of another study", SCORED)
    assert [(one.number, one.state) for one in list_outgoing(tmp_path)] == [(1, "left")]


def test_an_alarm_stands_beside_the_answer(tmp_path: Path) -> None:
    write_outgoing(tmp_path, entry("alarm", code="MODEL-PATH"))
    write_outgoing(tmp_path, entry())
    assert [(one.number, one.state) for one in list_outgoing(tmp_path)] == [(1, "alarm"), (2, "left")]


def test_further_models_of_one_round_have_entries_of_their_own(tmp_path: Path) -> None:
    models = [Question(Item("federated", "contribution", 1), "run-1", f"digest-{n}", 8) for n in range(3)]
    for question in (*models, models[0]):
        write_outgoing(tmp_path, entry(question=question))
    assert [one.question for one in list_outgoing(tmp_path, "run-1")] == ["digest-0", "digest-1", "digest-2"]
    assert list_outgoing(tmp_path, "run-2") == ()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"state": "left"}', '{"arrays": [{"foreign": 1}]}'])
def test_a_file_that_is_no_entry_is_left_out(tmp_path: Path, text: str) -> None:
    path = write_outgoing(tmp_path, entry())
    path.with_name("0002-join.json").write_text(text)
    assert len(list_outgoing(tmp_path)) == 1
    assert write_outgoing(tmp_path, entry(question=Question(Item("", "join"), "run-1", "d", 1))).name == "0003-join.json"
