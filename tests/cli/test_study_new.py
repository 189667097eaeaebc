"""`medfl study new` as a newcomer meets it: commands that go on, questions on a terminal alone, and nothing overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from medfl.cli import new_study
from medfl.cli.app import app
from medfl.errors import ConfigError
from medfl.study import read_study
from tests.data_folders import MAKERS


def new(*words: str | Path, answers: str = "") -> Result:
    return CliRunner().invoke(app, ["study", "new", *map(str, words)], input=answers)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    MAKERS["pictures"](tmp_path / "data")
    return tmp_path / "data"


def test_it_writes_a_study_and_the_commands_that_come_next(pictures: Path, tmp_path: Path) -> None:
    done = new(tmp_path / "mine", "--data", pictures)
    assert done.exit_code == 0, done.output
    assert read_study(tmp_path / "mine").task.classes == ("sick", "well")
    assert f"medfl study check {tmp_path / 'mine'} --data {pictures}" in done.stdout
    assert "medfl study bundle" in (tmp_path / "mine" / "README.md").read_text()
    assert "Check: task.modality: The files do not tell the modality; XR was assumed." in done.stderr
    checked = CliRunner().invoke(app, ["study", "check", str(tmp_path / "mine"), "--data", str(pictures)])
    assert checked.exit_code == 0, checked.output


def test_a_dry_run_prints_the_study_and_writes_nothing(pictures: Path, tmp_path: Path) -> None:
    done = new(tmp_path / "mine", "--data", pictures, "--dry-run")
    assert done.exit_code == 0, done.output
    assert 'classes = "sick,well"' in done.stdout
    assert not (tmp_path / "mine").exists()


def test_json_holds_the_study_and_what_was_assumed(pictures: Path, tmp_path: Path) -> None:
    done = new(tmp_path / "mine", "--data", pictures, "--json")
    told = json.loads(done.stdout)
    assert told["written"]
    assert told["study"]["task"]["classes"] == "sick,well"
    assert told["hospitals"] == {"north": 12, "south": 12}
    assert len(told["to-be-checked"]) == 1


def test_on_a_terminal_it_asks_and_with_yes_it_does_not(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_study, "_is_asked", lambda: True)
    done = new(tmp_path / "mine", answers=f"{pictures}\nhand\nUS\n3\n")
    assert done.exit_code == 0, done.output
    assert "'hand' is not one of" in done.output
    assert read_study(tmp_path / "mine").task.modality == "US"
    assert new(tmp_path / "other", "--data", pictures, "--yes").exit_code == 0
    assert read_study(tmp_path / "other").task.modality == "XR"


def test_data_in_which_nothing_is_usable_says_what_a_check_says(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.txt").write_text("no image")
    done = new(tmp_path / "mine", "--data", tmp_path / "data")
    assert done.exit_code == 1
    assert "DATA-LAYOUT" in done.stdout
    assert "0 cases usable" in done.stdout
    assert not (tmp_path / "mine").exists()
    told = json.loads(new(tmp_path / "mine", "--data", tmp_path / "data", "--json").stdout)
    assert "DATA-LAYOUT" in told["findings"]["data"][0]


def test_without_a_terminal_what_is_missing_is_named(tmp_path: Path, pictures: Path) -> None:
    done = new(tmp_path / "mine")
    assert isinstance(done.exception, ConfigError)
    assert "Name the folder of the data with '--data'" in str(done.exception)
    again = new(tmp_path / "mine", "--from", "lung")
    assert "Did you mean 'lungs'?" in str(again.exception)
    assert new(tmp_path / "mine", "--from", "lungs").exit_code == 0
    assert "not overwritten" in str(new(tmp_path / "mine", "--data", pictures).exception)
