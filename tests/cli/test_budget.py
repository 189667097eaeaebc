"""`medfl site budget`, as a data officer uses it: what was asked and told, in sum, and further runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flwr.app import ConfigRecord, RecordDict
from typer.testing import CliRunner

from medfl.audit.chain import Chain
from medfl.cli.app import app
from medfl.deploy.approvals import require_approved
from medfl.errors import PolicyError
from medfl.privacy.ledger import Ledger
from medfl.privacy.ledger_rows import ATTEMPTS
from medfl.privacy.questions import Item, Question
from medfl.site import init_site, read_site
from medfl.study import Study, read_study


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return init_site(tmp_path / "site", "hospital-a", ".").parent


def medfl(*words: object, answer: str = "") -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], input=answer)


def budget(site: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(medfl("site", "budget", "--site", site, "--json").stdout)
    return found


def approve(folder: Path, site: Path) -> Study:
    assert medfl("site", "approve", folder, "--site", site, "--yes").exit_code == 0
    return read_study(folder)


def ask(site: Path, study: Study, item: Item, run: str = "run-1") -> None:
    ledger, question = Ledger(site / "budget"), Question(item, run, "aa", 1)
    ledger.settle(ledger.reserve(study.approved_hash(), question, study), RecordDict({"config": ConfigRecord({"a": 1})}))


def test_what_was_asked_is_told_beside_what_may_be(nodule_study: Path, site: Path) -> None:
    study = approve(nodule_study, site)
    (before,) = budget(site)["studies"]
    assert (before["runs-begun"], before["questions-asked"], before["bytes-told"]) == (0, 0, 0)
    for run in ("run-0", "run-1"):
        ask(site, study, Item("", "join"), run)
    (joined,) = budget(site)["studies"]
    assert (joined["runs-begun"], joined["runs-joined"], joined["questions-asked"], joined["bytes-told"]) == (0, 2, 0, 1)
    assert json.loads(medfl("site", "approvals", "--site", site, "--json").stdout)[0]["runs-left"] == 3
    ask(site, study, Item("federated", "train", 1))
    (after,) = budget(site)["studies"]
    assert (after["runs-begun"], after["runs-joined"]) == (1, 1)
    assert (after["runs-begun"], after["questions-asked"], after["questions-allowed"]) == (1, 2, 15)
    assert after["bytes-told"] == 2  # a code of five at each joining; whether there is an answer, and one of 1002 losses
    assert after["bytes-told"] < after["bytes-bound"] == before["bytes-bound"]
    shown = medfl("site", "budget", "--site", site).stdout
    assert "1 of 3" in shown
    assert "2 of 15" in shown
    assert "20 may join" in shown


def test_studies_on_the_same_patients_are_added_up_and_withdrawn_ones_too(nodule_study: Path, site: Path) -> None:
    study = approve(nodule_study, site)
    ask(site, study, Item("federated", "train", 1))
    assert medfl("site", "withdraw", "nodule", "--site", site, "--yes").exit_code == 0
    text = (nodule_study / "pyproject.toml").read_text()
    (nodule_study / "pyproject.toml").write_text(text.replace("seed = 3", "seed = 4"))
    ask(site, approve(nodule_study, site), Item("federated", "train", 1))
    found = budget(site)
    assert [each["approved"] for each in found["studies"]] == [True, False]
    (total,) = found["sums"]
    assert total["told"] == sum(each["bytes-told"] for each in found["studies"]) > 0
    assert "On the same patients" in medfl("site", "budget", "--site", site).stdout


@pytest.mark.parametrize("split", ["", "split-seed = 1\n"], ids=["", "one split"])
def test_three_seeds_of_a_study_are_three_approvals_and_one_sum(nodule_study: Path, site: Path, split: str) -> None:
    """Each tells anew of the same patients, also where the seeds share one split."""
    file = nodule_study / "pyproject.toml"
    text = file.read_text()
    for seed in (3, 4, 5):
        file.write_text(text.replace("seed = 3\n", f"seed = {seed}\n{split}"))
        with pytest.raises(PolicyError, match="STUDY-NOT-APPROVED"):
            require_approved(read_site(site), read_study(nodule_study))
        study = approve(nodule_study, site)
        require_approved(read_site(site), study)
        ask(site, study, Item("federated", "train", 1))
    found = budget(site)
    assert len(found["studies"]) == 3
    (total,) = found["sums"]
    assert (
        total["told"] == sum(each["bytes-told"] for each in found["studies"]) > max(e["bytes-told"] for e in found["studies"])
    )


def test_studies_on_other_patients_are_summed_apart(nodule_study: Path, site: Path) -> None:
    for seed, patient in ((3, "pat-a"), (4, "pat-b")):
        text = (nodule_study / "pyproject.toml").read_text()
        (nodule_study / "pyproject.toml").write_text(text.replace("seed = 3", f"seed = {seed}"))
        study = approve(nodule_study, site)
        ledger = Ledger(site / "budget")
        ledger.begin_run(study.approved_hash(), study.name, "run-1")
        splits = {"train": frozenset({f"{patient}/case"})}
        ledger.choose_cases(study.approved_hash(), "run-1", lambda before, earlier, splits=splits: splits)
        ask(site, study, Item("federated", "train", 1))
    assert len(budget(site)["sums"]) == 2


def test_further_runs_are_allowed_only_after_a_yes(nodule_study: Path, site: Path) -> None:
    approve(nodule_study, site)
    add = ("site", "budget", "--site", site, "--add", 2)
    assert "It would be 5" in medfl(*add, "--dry-run").stdout
    assert medfl(*add, answer="n\n").exit_code == 1
    assert budget(site)["studies"][0]["runs-allowed"] == 3
    assert medfl(*add, "nodule", answer="y\n").exit_code == 0
    assert budget(site)["studies"][0]["runs-allowed"] == 5


def test_a_question_that_was_given_up_is_tried_again_only_after_a_yes(nodule_study: Path, site: Path) -> None:
    study = approve(nodule_study, site)
    retry = ("site", "budget", "nodule", "--retry", "--site", site)
    assert "gave up no question of nodule" in medfl(*retry).stdout
    ledger, question = Ledger(site / "budget"), Question(Item("federated", "train", 1), "run-1", "aa", 1)
    for _ in range(ATTEMPTS):
        ledger.fail(ledger.reserve(study.approved_hash(), question, study), "LOSS-NONFINITE")
    assert "gave up 1 question of nodule" in medfl(*retry, "--dry-run").stdout
    assert medfl(*retry, answer="n\n").exit_code == 1
    with pytest.raises(PolicyError, match="NOT-ANSWERED"):
        ledger.reserve(study.approved_hash(), question, study)
    assert medfl(*retry, answer="y\n").exit_code == 0
    assert ledger.reserve(study.approved_hash(), question, study).answer is None


def test_a_study_that_is_not_there_is_said(site: Path) -> None:
    assert "No study was ever approved" in medfl("site", "budget", "--site", site).stdout
    assert medfl("site", "budget", "nodule", "--site", site).exit_code == 1
    assert medfl("site", "budget", "--add", 1, "--site", site, "--yes").exit_code == 1


def test_a_budget_that_was_deleted_is_not_taken_for_a_new_one(nodule_study: Path, site: Path) -> None:
    study = approve(nodule_study, site)
    ask(site, study, Item("federated", "train", 1))
    Chain(site / "audit.jsonl", "hospital-a").append({"event": "left", "run": "run-1", "records": []})
    look = ("site", "approve", nodule_study, "--site", site, "--dry-run")
    commands = (("site", "budget", "--site", site), ("site", "approvals", "--site", site), look)
    assert all("does not have" not in medfl(*command).output for command in commands)
    shutil.rmtree(site / "budget")
    for command in commands:
        said = " ".join(medfl(*command).output.split())
        assert "does not have: run-1." in said
        assert "--runs N" in said
