"""Problems of hospitals in a whole run and on the command line: each ends in a code and a remedy."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from medfl.api import simulate
from medfl.cli import app as cli
from medfl.errors import QuorumError, RunError
from medfl.runs.history import read_history
from medfl.simulation.simulated_run import plan_simulation
from tests.bad_input.damage import check_words, cut, fill


def test_hospitals_of_every_kind_in_one_run(study_folder: Path, tmp_path: Path) -> None:
    hospitals = tmp_path / "hospitals"
    fill(hospitals / "good", 5)
    fill(hospitals / "empty", 0)
    fill(hospitals / "lone", 1)
    fill(hospitals / "lacking", 4, classes=1)
    cut(fill(hospitals / "rough", 4) / "data" / "Doe_1" / "image.nii.gz")
    for patient in sorted((fill(hospitals / "bad", 4) / "data").iterdir())[:3]:
        cut(patient / "label.nii.gz")
    simulation = plan_simulation(study_folder, [hospitals], tmp_path / "runs", {"strategy.quorum": 4})
    simulation.start(workers=2)
    events = read_history(simulation.run)
    assert events[-1]["status"] == "completed"
    reasons = sorted(event["reason"].split()[0] for event in events if event["event"] == "failed")
    assert reasons == ["[DATA-EMPTY]", "[SITE-EXCLUDED]"]
    joined = {event["site"]: event for event in events if event["event"] == "joined"}
    assert {site: event["excluded"] for site, event in joined.items()} == {
        "good": {},
        "lone": {},
        "lacking": {},
        "rough": {"NII-TRUNCATED": 1},
    }
    assert joined["lone"]["warnings"] == {"SITE-ONE-PATIENT": 1}
    assert joined["lacking"]["warnings"] == {"LBL-NO-CLASS": 1}
    assert (joined["lone"]["train"], joined["lone"]["test"]) == (1, 0)
    (test,) = [event for event in events if event["event"] == "test"]
    assert test["eval"]["eval.patients"] == sum(event["test"] for event in joined.values())


def test_with_too_few_hospitals_the_error_says_where_the_reasons_are_even_if_the_report_fails(
    study_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> Path:
        raise RunError("DISK-FULL", "there is no room left on the disk to write the report.")

    monkeypatch.setattr("medfl.api.followed_run.write_report", fail)
    hospitals = fill(tmp_path / "hospitals" / "north", 0).parent
    with pytest.raises(QuorumError) as caught:
        simulate(study_folder, hospitals, tmp_path / "runs", workers=1)
    assert caught.value.code == "TOO-FEW-SITES"
    check_words(caught.value, tmp_path)


@pytest.mark.parametrize("where", ["runs", "runs/rough"])
def test_a_file_in_place_of_the_folder_of_runs_is_reported_on_the_command_line(
    where: str, study_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hospitals = fill(tmp_path / "hospitals" / "north", 4).parent
    (tmp_path / where).parent.mkdir(exist_ok=True)
    (tmp_path / where).write_text("a file stands where the folder should be")
    command = [
        "medfl",
        "simulate",
        str(study_folder),
        "--data",
        str(hospitals),
        "--out",
        str(tmp_path / "runs"),
        "--workers",
        "1",
    ]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == cli.EXIT_FAILED
    text = capsys.readouterr().err
    assert "[RUN-FOLDER]" in text
    assert "Choose a folder that you may write to." in " ".join(text.split())
    assert "Traceback" not in text


def test_every_command_that_an_error_advises_exists() -> None:
    package = Path(cli.__file__).parents[1]
    files = [path for folder in (package, package / "strategies", package / "clients") for path in folder.rglob("*.py")]
    advised = {m[1] for path in files for m in re.finditer(r"'medfl ([a-z]+(?: [a-z]+)?)", path.read_text(encoding="utf-8"))}
    assert len(advised) >= 3
    for command in advised:
        node: Any = typer.main.get_command(cli.app)
        for word in command.split():
            assert word in node.commands, command
            node = node.commands[word]
