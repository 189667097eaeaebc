"""The display of a run, drawn from its history: what a person reads of a run that goes on, was resumed, or is over."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from medfl.cli import run_display
from medfl.cli.run_display import RunDisplay
from medfl.runs.history import HISTORY_FILE, History
from medfl.study import read_study


def event(kind: str, clock: str = "10:00:00", **more: Any) -> dict[str, Any]:
    return {"event": kind, "time": f"2026-01-01T{clock}.000+00:00", **more}


def round_of(number: int, clock: str, **sites: str) -> dict[str, Any]:
    lost = "[NODE-LOST] The node is no longer connected."
    metrics = {"train.loss": 0.5}
    replies = {n: {"status": s, "reason": "" if s == "ok" else lost, "metrics": metrics} for n, s in sites.items()}
    return event("round", clock, arm="federated", round=number, seconds=30.0, score=None, sites=replies)


@pytest.fixture
def display(nodule_study: Path) -> RunDisplay:
    return RunDisplay(read_study(nodule_study, {"rounds": 10}), ["hospital-a", "hospital-b"])


def shown(display: RunDisplay, *events: dict[str, Any]) -> str:
    display.update(events)
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(display)
    return console.export_text()


def test_a_finished_run_shows_how_long_it_took(display: RunDisplay) -> None:
    text = shown(display, event("start"), round_of(1, "10:00:40"), event("end", "10:01:05", status="failed"))
    assert "1 min 5 s gone" in text
    assert "failed" in text


def test_a_resumed_run_counts_from_its_resumption(display: RunDisplay) -> None:
    events = [event("start"), event("end", "10:01:05", status="stopped"), event("resume", "15:00:00")]
    assert "2 min 0 s gone" in shown(display, *events, event("end", "15:02:00", status="completed"))


def test_a_missing_site_is_shown_with_the_reason(display: RunDisplay) -> None:
    text = shown(display, event("start"), round_of(1, "10:00:40", **{"hospital-a": "ok", "hospital-b": "failed"}))
    (line,) = [line for line in text.splitlines() if "hospital-b" in line]
    assert "NODE-LOST" in line
    assert "round 1/10" in text


def test_the_sites_that_are_waited_for_are_named(display: RunDisplay) -> None:
    waiting = event("waiting", during="join", sites=["hospital-b"], seconds=600)
    assert "waiting for hospital-b, 10 min 0 s at most" in shown(display, event("start"), waiting)


def test_in_a_log_each_event_is_a_line(display: RunDisplay, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = History(tmp_path / HISTORY_FILE)
    with run_display.follow_run(tmp_path, display):
        log.append({"event": "start", "study": "nodule"})
        log.append({"event": "absent", "site": "[red]aachen", "reason": "it was not connected"})
    assert capsys.readouterr().err.splitlines() == [
        "Preparing the images and starting workers …",
        "nodule: the run has started",
        "[red]aachen is absent: it was not connected",
    ]


def test_a_log_says_what_is_waited_for_while_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(run_display, "errors", Console(file=printed, width=200))
    monkeypatch.setattr(run_display, "_SILENT_SECONDS", 0.0)
    lines = run_display._Heartbeat("preparing the images")
    lines.tick({})
    lines.tick({})
    lines.tick({"hospital-a": 125.4})
    assert printed.getvalue().splitlines() == [
        "Preparing the images …",
        "Still preparing the images.",
        "Still at work.",
        "hospital-a is at work for 2 min 5 s",
    ]


def test_each_event_is_taken_once_and_a_round_that_is_done_again_counts_once(display: RunDisplay) -> None:
    done, broken = (
        {**round_of(1, "10:00:30", **{"hospital-a": "ok"}), "bytes-up": 1},
        round_of(2, "10:01:00", **{"hospital-a": "late"}),
    )
    assert "round 1/10" in shown(display, event("start"), done)
    assert "round 2/10" in shown(display, broken)
    assert "round 1/10" in shown(display, event("resume", "11:00:00"))
    assert "round 2/10" in shown(display, {**round_of(2, "11:00:30", **{"hospital-a": "ok"}), "bytes-up": 1})


def test_what_happened_is_read_once(display: RunDisplay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[list[dict[str, Any]]] = []
    monkeypatch.setattr("medfl.cli.run_display.errors._force_terminal", True)
    monkeypatch.setattr(RunDisplay, "update", lambda self, events: taken.append(list(events)))
    log = History(tmp_path / HISTORY_FILE)
    log.append({"event": "start", "study": "nodule"})
    with run_display.follow_run(tmp_path, display):
        time.sleep(0.6)  # one look
        log.append({"event": "end", "status": "completed"})
    assert [each["event"] for events in taken for each in events] == ["start", "end"]
