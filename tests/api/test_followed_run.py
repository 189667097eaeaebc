"""What an exception in a callback says of the run, without a run: its folder and its thread are made up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medfl.api.events import RunEvent
from medfl.api.followed_run import run_followed
from medfl.errors import QuorumError, RunError
from medfl.runs.history import HISTORY_FILE, History

ROUND = {"event": "round", "arm": "federated", "round": 1, "bytes-up": 1}


def _follow(
    folder: Path, events: Sequence[dict[str, Any]], callback: Callable[[RunEvent], None], failure: BaseException | None = None
) -> list[str]:
    """Follow a run that writes events and may fail, and return the notes of the exception that the callback raises."""

    def start(engine: str, workers: int, stop: threading.Event) -> None:
        for event in events:
            History(folder / HISTORY_FILE).append(event)
        if failure is not None:
            raise failure

    run = SimpleNamespace(run=folder, start=start, study=SimpleNamespace(rounds=2, arms=("federated",)))
    with pytest.raises(ValueError, match="enough") as caught:
        run_followed(run, "embedded", 1, callback)  # type: ignore[arg-type]
    return [str(note) for note in getattr(caught.value, "__notes__", ())]


def _raise_at_the_end(event: RunEvent) -> None:
    if event.kind == "end":
        raise ValueError("enough")


def test_after_the_last_event_of_a_run_that_is_complete_there_is_nothing_to_continue(tmp_path: Path) -> None:
    (note,) = _follow(tmp_path, [ROUND, {"event": "end", "status": "completed"}], _raise_at_the_end)
    assert note == f"The run is complete, in {tmp_path}: medfl.open_run opens it."


def test_a_run_that_had_failed_by_itself_is_said_to_have(tmp_path: Path) -> None:
    failure = QuorumError("TOO-FEW-SITES", "two sites are left.", "Ask the others.")
    (note,) = _follow(tmp_path, [ROUND, {"event": "end", "status": "failed"}], _raise_at_the_end, failure)
    assert note.startswith("The run itself had failed: [TOO-FEW-SITES] two sites are left. Ask the others.")
    assert "After 1 round of 2" in note


def test_the_stop_itself_is_no_failure_of_the_run(tmp_path: Path) -> None:
    (note,) = _follow(tmp_path, [ROUND, {"event": "end", "status": "stopped"}], _raise_at_the_end, KeyboardInterrupt())
    assert note.startswith("After 1 round of 2")


@pytest.mark.parametrize(("done", "notes"), [([], 0), ([{**ROUND, "round": 2}], 1)])
def test_an_attempt_that_did_nothing_does_not_advise_to_try_again(
    done: list[dict[str, Any]], notes: int, tmp_path: Path
) -> None:
    History(tmp_path / HISTORY_FILE).append(ROUND)

    def start(engine: str, workers: int, stop: threading.Event) -> None:
        for event in done:
            History(tmp_path / HISTORY_FILE).append(event)
        raise RunError("RUN-OTHER-DATA", "the images are others.", "Put them back.")

    run = SimpleNamespace(run=tmp_path, start=start, study=SimpleNamespace(rounds=2, arms=("federated",)))
    with pytest.raises(RunError) as caught:
        run_followed(run, "embedded", 1)  # type: ignore[arg-type]
    assert len(getattr(caught.value, "__notes__", ())) == notes


def test_a_history_that_is_damaged_does_not_hide_what_was_raised(tmp_path: Path) -> None:
    def damage(_: RunEvent) -> None:
        (tmp_path / HISTORY_FILE).write_text("no event\n")
        raise ValueError("enough")

    assert _follow(tmp_path, [ROUND], damage) == []


def test_an_exception_that_is_raised_again_has_the_note_of_the_last_run_alone(tmp_path: Path) -> None:
    error = ValueError("enough")
    error.add_note("of the caller")

    def refuse(_: RunEvent) -> None:
        raise error

    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        notes = _follow(tmp_path / name, [ROUND], refuse)
    mine, note = notes
    assert mine == "of the caller"
    assert str(tmp_path / "second") in note
