"""Outcome of a run: what it says of the cases that were left out, and of a report that cannot be written."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from medfl.api import open_run
from medfl.api.outcome import left_out_sentence
from medfl.cli.run_outcome import print_outcome
from medfl.errors import RunError
from medfl.runs import Run
from medfl.study import Simulation, StudyApp
from medfl.testing.sites import make_study


@pytest.mark.parametrize(
    ("excluded", "expected"),
    [
        ({}, ""),
        ({"IMG-NAN": 5, "LBL-EMPTY": 7}, "12 of 200 cases left out; the report says why."),
        ({"IMG-NAN": -10}, "<10 of at least 189 cases left out; the report says why."),
    ],
)
def test_the_outcome_says_how_many_cases_the_hospitals_left_out(excluded: Mapping[str, int], expected: str) -> None:
    site = SimpleNamespace(excluded=excluded, cases={"train": 150, "validation": 8, "test": 30})
    assert left_out_sentence(SimpleNamespace(joined={1: site})) == expected  # type: ignore[arg-type]


def test_a_full_disk_at_the_report_leaves_the_numbers_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run.create(tmp_path, StudyApp(make_study(), Simulation()))
    run.history.append({"event": "end", "status": "completed", "seconds": 1.0, "reason": ""})

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("medfl.report.report_files.write_file", full)
    outcome = open_run(run.path).outcome()
    assert outcome.report is None
    assert outcome.as_json()["report"] is None
    assert [headline["value"] for headline in outcome.as_json()["headlines"]] == [None, 0, 0]
    with pytest.raises(RunError, match=rf"DISK-FULL.*'medfl report {run.path}'; the run itself is kept"):
        print_outcome(outcome)
    printed = capsys.readouterr().out
    assert "no hospital could score the model" in printed
    assert "Report:" not in printed
