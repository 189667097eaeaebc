"""The command line as a newcomer meets it: plain words, and exit codes that scripts can rely on."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medfl.cli.app import app
from medfl.cli.options import parse_overrides
from medfl.site import read_site


def medfl(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "medfl", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def test_the_version_comes_with_the_name_that_pip_knows(tmp_path: Path) -> None:
    assert re.fullmatch(r"flwr-medfl \d+\.\d+\.\d+\n", medfl("--version", folder=tmp_path).stdout)


def test_a_valid_study_is_shown_with_its_flwr_command(nodule_study: Path, nodule_hospitals: Path, tmp_path: Path) -> None:
    done = medfl("study", "check", nodule_study, "--data", nodule_hospitals, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "num-supernodes=3" in done.stdout
    assert "flwr run" in done.stdout


def test_the_flwr_command_has_every_change_and_survives_a_shell(
    nodule_study: Path, nodule_hospitals: Path, tmp_path: Path
) -> None:
    data = nodule_hospitals.rename(tmp_path / "hospitals of mine")
    done = medfl("study", "check", nodule_study, "--data", data, "-c", "rounds=5", "-c", "strategy.wait=2", folder=tmp_path)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("flwr run")]
    words = shlex.split(line)
    changes = words[words.index("--run-config") + 1]
    assert tomllib.loads(changes.replace(" simulation", "\nsimulation").replace(" strategy", "\nstrategy")) == {
        "rounds": 5,
        "strategy": {"wait": 2},
        "simulation": {"data": str(data)},
    }


def test_a_study_as_json_has_its_hash(nodule_study: Path, tmp_path: Path) -> None:
    content = json.loads(medfl("study", "check", nodule_study, "--json", folder=tmp_path).stdout)
    assert len(content["hash"]) == 64
    assert content["study"]["name"] == "nodule"


def test_a_wrong_study_ends_with_2_and_every_problem(nodule_study: Path, tmp_path: Path) -> None:
    done = medfl("study", "check", nodule_study, "-c", "rounds=0", "-c", "optimiser.name=adam", folder=tmp_path)
    assert done.returncode == 2
    assert "rounds: must be at least 1" in done.stderr
    assert "Did you mean 'optimizer'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_data_that_is_not_there_is_said_without_a_traceback(nodule_study: Path, tmp_path: Path) -> None:
    done = medfl("simulate", nodule_study, "--data", tmp_path / "nowhere", folder=tmp_path)
    assert done.returncode == 2
    assert "there is no folder" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_run_is_listed_and_its_report_can_be_written_again(
    nodule_study: Path, nodule_hospitals: Path, tmp_path: Path
) -> None:
    done = medfl("simulate", nodule_study, "--data", nodule_hospitals, "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    report = Path(outcome["report"])
    assert report.is_file()
    score, rounds, patients = [headline["value"] for headline in outcome["headlines"]]
    assert score is None, "scores of so few test patients, told in bins, leave any AUROC possible"
    assert (rounds, patients) == (2, 24)
    (listed,) = json.loads(medfl("runs", "--json", folder=tmp_path).stdout)
    assert listed["status"] == "completed"
    report.unlink()
    assert medfl("report", outcome["run"], folder=tmp_path).returncode == 0
    assert report.is_file()


def test_a_folder_that_is_no_run_says_so(tmp_path: Path) -> None:
    done = medfl("report", tmp_path, folder=tmp_path)
    assert done.returncode == 1
    assert "RUN-MISSING" in done.stderr


def test_what_is_there_of_a_site_is_kept(tmp_path: Path) -> None:
    assert medfl("site", "init", "hospital-a", folder=tmp_path).returncode == 0
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made.keys() == {"site.toml", "site.secret", "site.key", "hospital-a.request.json"}
    assert medfl("site", "init", "hospital-a", folder=tmp_path).returncode == 0
    assert all((tmp_path / name).read_bytes() == made[name] for name in ("site.toml", "site.secret", "site.key"))


def test_the_folder_of_a_site_is_not_given_to_another(tmp_path: Path) -> None:
    assert medfl("site", "init", "hospital-a", folder=tmp_path).returncode == 0
    done = medfl("site", "init", "hospital-b", folder=tmp_path)
    assert done.returncode == 2
    assert "this is the folder of the site 'hospital-a'" in done.stderr


@pytest.mark.slow
def test_made_hospitals_can_be_used_at_once(nodule_study: Path, tmp_path: Path) -> None:
    assert medfl("data", "synth", tmp_path / "made", "--kind", "nodule", folder=tmp_path).returncode == 0
    done = medfl("study", "check", nodule_study, "--data", tmp_path / "made", folder=tmp_path)
    assert "3 sites" in done.stdout


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("a=5", 5),
        ("a=0.5", 0.5),
        ("a=true", True),
        ("a='5'", "5"),
        ("a=sgd", "sgd"),
        ("a=1,2", "1,2"),
        ("a=[1]", "[1]"),
        ("a=", ""),
    ],
)
def test_values_of_the_command_line_have_their_types(word: str, value: object) -> None:
    assert parse_overrides([word]) == {"a": value}


def test_a_site_is_not_made_for_a_folder_that_is_not_there(tmp_path: Path) -> None:
    done = medfl("site", "init", "hospital-a", "--data", tmp_path / "nowhere", folder=tmp_path)
    assert done.returncode == 2
    assert "there is no folder" in done.stderr
    assert not (tmp_path / "site.toml").exists()


@pytest.mark.parametrize(("place", "root"), [("hospital-a/images", "images"), ("images", "{here}/images")])
def test_images_are_found_from_here_or_in_the_folder_of_the_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, root: str
) -> None:
    (tmp_path / place).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    words = ["site", "init", "hospital-a", "--folder", "hospital-a", "--data", "images"]
    assert CliRunner().invoke(app, words).exit_code == 0
    site = read_site(tmp_path / "hospital-a")
    assert site.data.root == root.format(here=tmp_path.resolve())
    assert site.root == (tmp_path / place).resolve()


def test_of_two_folders_of_one_name_none_is_taken_without_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("images", "hospital-a/images"):
        (tmp_path / place).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    words = ["site", "init", "hospital-a", "--folder", "hospital-a", "--data"]
    done = CliRunner().invoke(app, [*words, "images"], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert "there is a folder images both here and in hospital-a" in done.stderr
    assert not (tmp_path / "hospital-a" / "site.toml").exists()
    assert CliRunner().invoke(app, [*words, str(tmp_path / "images")]).exit_code == 0
