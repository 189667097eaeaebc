"""A history holds every event that was appended, also after a crash in the middle of a line."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from medfl.errors import RunError
from medfl.runs import History, read_history
from medfl.runs.history import HistoryTail


def test_events_come_back_in_order_with_a_time(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    history.append({"event": "start", "seed": 3})
    history.append({"event": "round", "round": 1, "time": "2026-01-02T03:04:05Z"})
    events = history.read()
    assert [e["event"] for e in events] == ["start", "round"]
    assert events[0]["seed"] == 3
    assert events[0]["time"].endswith("+00:00")
    assert events[1]["time"] == "2026-01-02T03:04:05Z"
    assert read_history(tmp_path) == events


def test_a_run_that_goes_on_gives_each_event_once_and_no_half_line(tmp_path: Path) -> None:
    tail, history = HistoryTail(tmp_path), History(tmp_path / "history.jsonl")
    assert tail.read_new() == []
    history.append({"event": "start"})
    history.append({"event": "joined", "site": "north"})
    with history.path.open("ab") as file:
        file.write(b'{"event":"rou')
    assert [e["event"] for e in tail.read_new()] == ["start", "joined"]
    assert tail.read_new() == []
    history.append({"event": "end"})
    assert [e["event"] for e in tail.read_new()] == ["end"]


def test_not_a_number_becomes_null_at_any_depth_and_numpy_becomes_plain(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    history.append(
        {"event": "round", "score": float("nan"), "eval": {"a": [1.0, float("inf")], "b": np.float32(0.5), "n": np.arange(2)}}
    )
    line = (tmp_path / "history.jsonl").read_text()
    assert "NaN" not in line
    event = json.loads(line)
    assert event["score"] is None
    assert event["eval"] == {"a": [1.0, None], "b": 0.5, "n": [0, 1]}


def test_no_file_means_no_events(tmp_path: Path) -> None:
    assert read_history(tmp_path) == []
    assert read_history(tmp_path / "history.jsonl") == []


@pytest.mark.parametrize("torn", ['{"event":"rou', "{", '{"event":"round","text":"' + "x" * 200_000])
def test_a_torn_last_line_is_left_out_and_does_not_spoil_the_next(tmp_path: Path, torn: str) -> None:
    file = tmp_path / "history.jsonl"
    history = History(file)
    history.append({"event": "start"})
    with file.open("a") as f:
        f.write(torn)
    assert [e["event"] for e in history.read()] == ["start"]
    history.append({"event": "end"})
    assert [e["event"] for e in history.read()] == ["start", "end"]


def test_a_file_of_one_torn_line_starts_anew(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text('{"event":"sta')
    history = History(tmp_path / "history.jsonl")
    assert history.read() == []
    history.append({"event": "start"})
    assert [e["event"] for e in history.read()] == ["start"]


def test_damage_in_the_middle_is_reported(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text('{"event":"start"}\n{"eve\n{"event":"end"}\n')
    with pytest.raises(RunError, match="line 2") as caught:
        read_history(tmp_path)
    assert caught.value.code == "HISTORY-DAMAGED"


def test_a_full_disk_is_reported_by_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError) as caught:
        History(tmp_path / "history.jsonl").append({"event": "start"})
    assert caught.value.code == "DISK-FULL"
