"""`medfl study bundle`, `medfl site approve`, `approvals`, `withdraw`, as a planner and a data officer use them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from medfl.cli.app import app
from medfl.site import init_site


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return init_site(tmp_path / "site", "hospital-a", ".").parent


def medfl(*words: object, answer: str = "") -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], input=answer)


def listed(site: Path) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(medfl("site", "approvals", "--site", site, "--json").stdout)
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


def test_a_damaged_approval_is_named_beside_the_good_ones(nodule_study: Path, site: Path) -> None:
    assert medfl("site", "approve", nodule_study, "--site", site, "--yes").exit_code == 0
    (site / "approved" / "someone.json").write_text("{}")
    done = medfl("site", "approvals", "--site", site)
    assert done.exit_code == 1
    assert "nodule" in done.stdout
    assert "someone.json" in done.stderr
