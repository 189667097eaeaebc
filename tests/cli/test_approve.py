"""`medfl study bundle`, `medfl site approve`, `approvals`, `withdraw`, as a planner and a data officer use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from medfl.cli.app import app
from medfl.privacy.ledger import Ledger
from medfl.privacy.questions import Item, Question
from medfl.site import init_site
from medfl.study import read_study


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return init_site(tmp_path / "site", "hospital-a", ".").parent


def medfl(*words: object, answer: str = "") -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], input=answer)


def listed(site: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(medfl("site", "approvals", "--site", site, "--json").stdout)
    return found


@pytest.mark.slow
def test_a_bundle_is_read_approved_listed_and_taken_back(nodule_study: Path, site: Path, tmp_path: Path) -> None:
    assert medfl("study", "bundle", nodule_study, "-c", "rounds=3", "--out", tmp_path).exit_code == 0
    bundle = tmp_path / "nodule.fab"
    shown = medfl("site", "approve", bundle, "--site", site, "--dry-run")
    assert "3 rounds" in shown.stdout
    assert listed(site) == []
    assert medfl("site", "approve", bundle, "--site", site, answer="n\n").exit_code == 1
    assert listed(site) == []
    assert medfl("site", "approve", bundle, "--site", site, answer="y\n").exit_code == 0
    assert [approval["name"] for approval in listed(site)] == ["nodule"]
    assert medfl("site", "withdraw", "nodule", "--site", site, answer="n\n").exit_code == 1
    assert len(listed(site)) == 1
    assert medfl("site", "withdraw", "nodule", "--site", site, "--yes").exit_code == 0
    assert listed(site) == []


def test_a_study_against_the_policy_is_not_approved_even_with_yes(nodule_study: Path, site: Path) -> None:
    text = (site / "site.toml").read_text()
    (site / "site.toml").write_text(text.replace("[policy]", "[policy]\nmax-rounds = 1"))
    done = medfl("site", "approve", nodule_study, "--site", site, "--yes")
    assert done.exit_code == 1
    assert "Your policy says no" in done.stdout
    assert listed(site) == []


def test_hashes_to_compare_are_shown_whole_in_a_narrow_terminal(
    nodule_study: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    keys = {"file": "w.safetensors", "sha256": "06a8" * 16, "arrays": "29e5" * 16}
    with (nodule_study / "pyproject.toml").open("a") as file:
        file.write("\n[tool.flwr.app.config.start]\n" + "".join(f'{key} = "{value}"\n' for key, value in keys.items()))
    shown = "".join(medfl("site", "approve", nodule_study, "--site", site, "--dry-run").stdout.split())
    assert keys["sha256"] in shown
    assert keys["arrays"] in shown


def test_what_keeps_the_data_from_being_used_is_said_before_the_question(nodule_study: Path, site: Path) -> None:
    (site / "index.csv").write_text("image,label\none.png,clear\n")
    done = medfl("site", "approve", nodule_study, "--site", site, answer="n\n")
    before, question, _ = done.stdout.partition("May this study run")
    assert question
    assert "[INDEX-COLUMN]" in before
    assert medfl("site", "approve", nodule_study, "--site", site, "--dry-run").exit_code == 1


def test_a_damaged_approval_is_named_beside_the_good_ones(nodule_study: Path, site: Path) -> None:
    assert medfl("site", "approve", nodule_study, "--site", site, "--yes").exit_code == 0
    (site / "approved" / "someone.json").write_text("{}")
    done = medfl("site", "approvals", "--site", site)
    assert done.exit_code == 1
    assert "nodule" in done.stdout
    assert "someone.json" in done.stderr


def test_the_sum_of_what_a_study_can_learn_is_read_before_it_is_approved(nodule_study: Path, site: Path) -> None:
    once = medfl("site", "approve", nodule_study, "--site", site, "--dry-run", "--runs", 1)
    assert "scores and codes: at most" in once.stdout
    assert "yours could not be counted" in once.stdout  # the site has no images
    assert "2 trained models in a run" in once.stdout
    assert "up to 3 times?" in medfl("site", "approve", nodule_study, "--site", site, answer="n\n").stdout
    assert "up to once?" in medfl("site", "approve", nodule_study, "--site", site, "--runs", 1, answer="n\n").stdout


def test_a_study_that_asks_more_than_the_policy_allows_is_not_approved(nodule_study: Path, site: Path) -> None:
    text = (site / "site.toml").read_text()
    (site / "site.toml").write_text(text.replace("[policy]", "[policy]\nmax-questions = 4"))
    refused = medfl("site", "approve", nodule_study, "--site", site, "--yes")
    assert refused.exit_code == 1
    assert "asks up to 5 questions in a run; at most 4" in refused.stdout


def test_runs_that_are_left_are_listed_and_withdrawing_does_not_give_them_back(nodule_study: Path, site: Path) -> None:
    assert medfl("site", "approve", nodule_study, "--site", site, "--yes", "--runs", 2).exit_code == 0
    study_hash = listed(site)[0]["hash"]
    ledger, study = Ledger(site / "budget"), read_study(nodule_study)
    ledger.reserve(study_hash, Question(Item("federated", "train", 1), "first", "aa", 1), study)
    assert [(each["runs-left"], each["runs-allowed"]) for each in listed(site)] == [(1, 2)]
    assert medfl("site", "withdraw", "nodule", "--site", site, "--yes").exit_code == 0
    again = medfl("site", "approve", nodule_study, "--site", site, "--yes")
    assert "1 of 2 runs began already" in again.stdout
    assert [each["runs-left"] for each in listed(site)] == [1]
