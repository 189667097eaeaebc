"""Planning by the command line, from a hospital's folder to a planned study: nothing is written that nobody agreed to."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from medfl.cli.app import app
from medfl.errors import ConfigError, DataError, RunError
from medfl.planning.fingerprint_serialization import from_json
from medfl.study import read_study
from tests.studies import study_text

STUDY = study_text(
    "organ",
    """
rounds = 1  # to begin with
[task]
kind = "segmentation"
dimension = 3
modality = "MR"
classes = "background,organ"
[network]
name = "unet"
[loss]
name = "dice-ce"
[training]
local-steps = 1
""",
)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "organ"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(STUDY)
    return folder


@pytest.fixture
def hospitals(tmp_path: Path) -> Path:
    """Return a folder with two hospitals of eight patients, who have flat volumes with thick slices."""
    for name in ("hospital-a", "hospital-b"):
        folder = tmp_path / "hospitals" / name
        folder.mkdir(parents=True)
        (folder / "site.toml").write_text(f'name = "{name}"\n[policy]\nmin-count = 5\n')
        (folder / "site.secret").write_bytes(bytes(range(32)))
        for k in range(8):
            image = np.random.default_rng(k).integers(0, 200, (24, 28, 10)).astype(np.int16)
            for kind, array in (("i", image), ("l", (image > 150).astype(np.uint8))):
                nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.0, 3.0, 1.0])), folder / f"{kind}{k}.nii")
        (folder / "index.csv").write_text("\n".join(["image,label,patient", *(f"i{k}.nii,l{k}.nii,JANE{k}" for k in range(8))]))
    return tmp_path / "hospitals"


@pytest.fixture
def files(study: Path, hospitals: Path, tmp_path: Path) -> list[str]:
    """Return the arguments that name the fingerprints of both hospitals."""
    words = []
    for site in sorted(hospitals.iterdir()):
        file = tmp_path / f"{site.name}.json"
        done = CliRunner().invoke(app, ["data", "fingerprint", str(site), str(study), "--out", str(file)])
        assert done.exit_code == 0, done.output
        assert "nothing was sent" in done.output
        words += ["--fingerprint", str(file)]
    return words


def test_a_hospital_reads_what_would_leave_and_it_names_nobody(files: list[str], hospitals: Path) -> None:
    for file in files[1::2]:
        text = Path(file).read_text()
        assert from_json(text).cases == 5  # two of eight are for the test, and one for validation is too few to be told
        assert "JANE" not in text
        assert str(hospitals) not in text


def test_a_hospital_with_too_few_patients_writes_no_file(study: Path, hospitals: Path, tmp_path: Path) -> None:
    site = hospitals / "hospital-a" / "site.toml"
    site.write_text(site.read_text().replace("5", "10"))
    done = CliRunner().invoke(app, ["data", "fingerprint", str(site), str(study), "--out", str(tmp_path / "a.json")])
    assert isinstance(done.exception, DataError)
    assert done.exception.code == "FINGERPRINT-FEW"
    assert not (tmp_path / "a.json").exists()


def test_files_of_hospitals_are_merged_shown_and_written(study: Path, files: list[str]) -> None:
    done = CliRunner().invoke(app, ["study", "plan", str(study), *files, "--yes"])
    assert done.exit_code == 0, done.output
    assert "10 cases; the median size along each axis is 24 x 28 x 10 voxels at 1 x 1 x 3 mm." in done.output
    assert '+strides = "1x1x1, 2x2x1, 2x2x2"' in done.output
    planned = read_study(study)
    assert planned.network.strides == ((1, 1, 1), (2, 2, 1), (2, 2, 2))
    assert planned.training.patch == (24, 28, 10)
    assert "rounds = 1  # to begin with" in (study / "pyproject.toml").read_text()
    again = CliRunner().invoke(app, ["study", "plan", str(study), *files])
    assert "The study already is as planned." in again.output


@pytest.mark.parametrize("words", [["--dry-run"], ["--dry-run", "--yes"], ["--dry-run", "--out", "planned.toml"], []])
def test_nothing_is_written_unless_somebody_agreed(
    study: Path, files: list[str], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["study", "plan", str(study), *files, *words], input="n\n")
    assert done.exit_code == 0, done.output
    assert "+strides" in done.output
    assert (study / "pyproject.toml").read_text() == STUDY
    assert not (tmp_path / "planned.toml").exists()


def test_another_file_and_json_leave_the_study_as_it_is(study: Path, files: list[str], tmp_path: Path) -> None:
    out = tmp_path / "planned.toml"
    done = CliRunner().invoke(app, ["study", "plan", str(study), *files, "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    assert content["plan"]["patch"] == [24, 28, 10]
    assert content["changes"]["network.name"] == ["unet", "dynunet"]
    assert (study / "pyproject.toml").read_text() == STUDY
    assert 'name = "dynunet"' in out.read_text()


def test_a_file_that_cannot_be_written_is_told_with_its_name(study: Path, files: list[str], tmp_path: Path) -> None:
    (tmp_path / "a-file").touch()
    out = tmp_path / "a-file" / "planned.toml"
    done = CliRunner().invoke(app, ["study", "plan", str(study), *files, "--out", str(out)])
    assert str(done.exception).startswith(f"[RUN-FOLDER] the planned study in {out} cannot be written")


def test_it_takes_either_folders_or_files(study: Path, files: list[str], hospitals: Path) -> None:
    for words in ([], [*files, "--data", str(hospitals)]):
        assert isinstance(CliRunner().invoke(app, ["study", "plan", str(study), *words]).exception, ConfigError)


def test_a_hospital_named_twice_does_not_count_twice(study: Path, files: list[str]) -> None:
    done = CliRunner().invoke(app, ["study", "plan", str(study), *files, *files[:2], "--dry-run"])
    assert isinstance(done.exception, ConfigError)
    assert "the same fingerprint as" in str(done.exception)


def test_planning_from_simulated_hospitals_parses_each_text_of_the_study_once(
    study: Path, hospitals: Path, parsed: Counter[str]
) -> None:
    done = CliRunner().invoke(app, ["study", "plan", str(study), "--data", str(hospitals), "--yes"])
    assert done.exit_code == 0, done.output
    assert parsed == {STUDY: 1, (study / "pyproject.toml").read_text(): 1}  # before and after


@pytest.mark.slow
def test_simulated_hospitals_are_asked_and_the_planned_study_trains(study: Path, hospitals: Path, tmp_path: Path) -> None:
    def medfl(*words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "medfl", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    done = medfl("study", "plan", study, "--data", hospitals, "--yes")
    assert done.returncode == 0, done.stderr
    assert "hospital-b" in done.stdout
    assert read_study(study).training.patch == (24, 28, 10)
    assert medfl("study", "check", study).returncode == 0
    done = medfl("simulate", study, "--data", hospitals, "--json", "-c", "network.filters='4,8,16'")
    assert done.returncode == 0, done.stderr


def test_a_fingerprint_is_written_into_a_new_folder_or_the_failure_is_reported(
    study: Path, hospitals: Path, tmp_path: Path
) -> None:
    words = ["data", "fingerprint", str(hospitals / "hospital-a" / "site.toml"), str(study / "pyproject.toml"), "--out"]
    done = CliRunner().invoke(app, [*words, str(tmp_path / "new" / "a.json")])
    assert done.exit_code == 0, done.output
    assert from_json((tmp_path / "new" / "a.json").read_text()).cases == 5
    (tmp_path / "file").write_text("")
    failed = CliRunner().invoke(app, [*words, str(tmp_path / "file" / "a.json")]).exception
    assert isinstance(failed, RunError)
    assert "the fingerprint cannot be written" in str(failed)


def test_a_study_named_by_its_file_is_planned_where_it_lies(study: Path, files: list[str]) -> None:
    done = CliRunner().invoke(app, ["study", "plan", str(study / "pyproject.toml"), *files, "--yes"])
    assert done.exit_code == 0, done.output
    assert read_study(study).training.patch == (24, 28, 10)
