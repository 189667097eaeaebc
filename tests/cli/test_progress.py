"""Progress of long work where nobody watches: a log that is never silent for minutes, and never long."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from medfl.cli import progress
from medfl.cli.progress import ProgressLines, show_progress


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    file = io.StringIO()
    monkeypatch.setattr(progress, "errors", Console(file=file, width=80))
    return file


def test_a_log_gets_a_line_at_the_beginning_and_one_every_ten_seconds(printed: io.StringIO) -> None:
    clock = iter([0.0, 4.0, 10.0, 12.0, 20.0])
    lines = ProgressLines("Reading headers", lambda: next(clock))
    lines.advance(40, 200)
    lines.tick()
    lines.advance(100, 200)
    lines.tick()
    lines.tick()
    lines.advance(150, 200)
    lines.tick()
    assert printed.getvalue().splitlines() == [
        "Reading headers …",
        "Reading headers: 100 of 200, 10 s gone, 10 s left",
        "Reading headers: 150 of 200, 20 s gone, 7 s left",
    ]


def test_another_stage_begins_with_a_line_and_a_stall_is_told(printed: io.StringIO) -> None:
    clock = iter([0.0, 1.0, 12.0])
    lines = ProgressLines("Finding the cases", lambda: next(clock))
    lines.advance(0, 0, "Reading the cases")
    lines.tick()
    assert printed.getvalue().splitlines() == [
        "Finding the cases …",
        "Reading the cases …",
        "Reading the cases: 11 s gone, – left",
    ]


def test_work_is_told_on_standard_error_and_quiet_work_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress("Preparing the images") as advance:
        advance(1, 2)
    with show_progress("Hidden", quiet=True) as advance:
        advance(1, 2)
    assert capsys.readouterr() == ("", "Preparing the images …\n")


def test_on_a_terminal_progress_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(progress, "errors", Console(file=file, width=80, force_terminal=True))
    with show_progress("Reading headers") as advance:
        advance(3, 7, "Reading the cases")
    assert "3/7" in file.getvalue()
    assert "Reading the cases" in file.getvalue()
