"""A study in a notebook: read, changed, checked; all problems at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medfl
from medfl.api import plan_simulation
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
    (left_out,) = data.found.left_out
    for shown in map(repr, (check, data)):
        assert str(nodule_hospitals) not in shown
        assert left_out.case not in shown
        assert len(shown) < 200
    cases = check.cases("hospital-2", split="validation")
    assert {case.image.shape for case in cases} == {(1, 32, 32)}
    with pytest.raises(DataError, match="Name one of them: hospital-1, hospital-2 and hospital-3"):
        check.data("hospital-9")
    with pytest.raises(ValueError, match="one of 'train', 'validation', 'test', not 'tst'"):
        check.cases("hospital-2", split="tst")  # type: ignore[arg-type]


def test_without_data_a_check_has_no_sites_and_says_how_to_name_some(nodule_study: Path) -> None:
    check = medfl.open_study(nodule_study).check()
    assert check.sites == ()
    with pytest.raises(DataError, match="Name the folder of the data"):
        check.data("hospital-1")


def test_numbers_of_numpy_and_paths_are_values_of_a_study(nodule_study: Path, tmp_path: Path) -> None:
    study = medfl.open_study(nodule_study).change(
        {"optimizer.learning-rate": np.float64(0.5)},
        rounds=np.int64(3),
        preprocessing={"size": np.array([48, 32])},
        simulation={"data": tmp_path},
    )
    assert (study.study.rounds, study.study.optimizer.learning_rate, study.study.preprocessing.size) == (3, 0.5, (48, 32))
    assert study.changes["simulation.data"] == str(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rounds": None}, "rounds: a study holds no value of the type NoneType"),
        ({"task": {"classes": {"clear", "nodule"}}}, "task.classes: a study holds no value of the type set"),
        ({"task": {"classes": ["clear, or not", "nodule"]}}, "task.classes: the item 'clear, or not' has a comma"),
        ({"task": {"classes": [["clear"], "nodule"]}}, "task.classes: a study holds no value of the type list"),
        ({1: 2}, "1: a key is a text"),
    ],
)
def test_what_no_study_can_hold_is_refused_with_its_key(changes: dict[str, Any], said: str, nodule_study: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        medfl.open_study(nodule_study).change(changes)
    with pytest.raises(ConfigError, match=said):
        medfl.open_study(nodule_study, changes)


def test_a_study_is_opened_with_tables_as_it_is_changed_with_them(nodule_study: Path) -> None:
    study = medfl.open_study(nodule_study, {"training": {"batch-size": 3}, "preprocessing": {"size": [48, 32]}})
    assert (study.study.training.batch_size, study.study.preprocessing.size) == (3, (48, 32))


def test_a_folder_may_begin_with_the_home_folder(
    nodule_study: Path, nodule_hospitals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(nodule_study.parent))
    plan = plan_simulation(f"~/{nodule_study.name}", Path("~", nodule_hospitals.relative_to(nodule_study.parent)), "~/runs")
    assert len(plan.sites) == 3
    assert plan.run.is_relative_to(nodule_study.parent / "runs")


def test_what_a_notebook_keeps_of_a_study_names_no_folder(nodule_study: Path) -> None:
    study = medfl.open_study(nodule_study)
    assert repr(study) == "<OpenStudy nodule: 2 rounds of fedavg>"
    assert str(nodule_study) not in study._repr_html_()
    assert "2 rounds of fedavg" in study._repr_html_()
