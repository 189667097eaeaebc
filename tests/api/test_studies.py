"""A study in a notebook: read, changed, checked; all problems at once."""

from __future__ import annotations

from pathlib import Path

import pytest

import medfl
from medfl.errors import ConfigError, DataError


def test_a_changed_study_is_another_one(nodule_study: Path) -> None:
    study = medfl.open_study(nodule_study)
    changed = study.change({"optimizer.learning-rate": 0.5}, rounds=7, training={"batch-size": 3}).change(seed=9)
    assert (changed.study.optimizer.learning_rate, changed.study.rounds, changed.study.training.batch_size) == (0.5, 7, 3)
    assert changed.study.seed == 9
    assert study.study.rounds == 2


def test_lists_are_written_as_a_study_has_them(nodule_study: Path) -> None:
    study = medfl.open_study(nodule_study).change(preprocessing={"size": [48, 32]}, task={"classes": ("clear", "nodule")})
    assert study.study.preprocessing.size == (48, 32)
    assert study.changes["preprocessing.size"] == "48,32"


def test_a_wrong_change_names_every_problem_and_the_nearest_name(nodule_study: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        medfl.open_study(nodule_study).change(rounds=0, optimiser={"name": "adam"})
    assert len(caught.value.problems) == 2
    assert "Did you mean 'optimizer'?" in str(caught.value)


def test_a_file_that_needs_a_change_can_be_opened_with_it(nodule_study: Path) -> None:
    file = nodule_study / "pyproject.toml"
    file.write_text(file.read_text().replace("rounds = 2", "rounds = 0"))
    with pytest.raises(ConfigError):
        medfl.open_study(nodule_study)
    assert medfl.open_study(file, {"rounds": 3}).study.rounds == 3


def test_a_check_finds_the_sites_and_their_usable_cases(nodule_study: Path, nodule_hospitals: Path) -> None:
    check = medfl.open_study(nodule_study).check(nodule_hospitals)
    assert [site.name for site in check.sites] == ["hospital-1", "hospital-2", "hospital-3"]
    assert "num-supernodes=3" in " ".join(check.flower_command)
    next((nodule_hospitals / "hospital-1" / "data").rglob("*.png")).write_bytes(b"not an image")
    data = check.data("hospital-1")
    assert len(data.found.left_out) == 1
    assert not data.declined
    assert data.findings[data.findings.level == "error"].case.str.startswith("case-").all()
    cases = check.cases("hospital-2", split="validation")
    assert {case.image.shape for case in cases} == {(1, 32, 32)}
    with pytest.raises(DataError, match="Name one of them: hospital-1, hospital-2 and hospital-3"):
        check.data("hospital-9")


def test_without_data_a_check_has_no_sites_and_says_how_to_name_some(nodule_study: Path) -> None:
    check = medfl.open_study(nodule_study).check()
    assert check.sites == ()
    with pytest.raises(DataError, match="Name the folder of the data"):
        check.data("hospital-1")
