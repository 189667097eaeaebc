"""`medfl site models`, as a hospital uses it: what it keeps, whether it is what the server sent, and what goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from medfl.cli.app import app
from medfl.clients.networks.arrays import get_arrays
from medfl.clients.networks.network_builders import build_network
from medfl.deploy.approvals import approve
from medfl.models.trained_model import open_model
from medfl.runs.kept_models import KeptModel, Which, list_kept, write_kept
from medfl.site import init_site, read_site
from medfl.testing.sites import make_study

STUDY = make_study()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    return init_site(Path("site"), "hospital-a", ".").parent


def keep(site: Path, run: str, which: Which = "shared") -> KeptModel:
    test = {"score": 0.8734, "patients": 12, "scores": {"dice": 0.8734}}
    model = KeptModel(STUDY.name, STUDY.approved_hash(), run, which, 7 if which == "shared" else None, test)
    return write_kept(site.resolve() / "models", STUDY, get_arrays(build_network(STUDY)), model)


def medfl(*words: object, answer: str = "") -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], input=answer)


def test_each_model_is_listed_with_its_result_and_a_path_that_opens_it(site: Path) -> None:
    keep(site, "run-1", "personal")
    shown = medfl("site", "models", site)
    assert shown.exit_code == 0
    for text in ("run run-1: your own model", "0.873 on 12 test patients", "made here"):
        assert text in shown.stdout
    (path,) = [word for word in shown.stdout.split() if word.endswith(".safetensors")]
    assert path.rpartition("/")[2] == "personal.safetensors"
    assert open_model(Path(path)).study == STUDY


def test_a_model_that_no_server_signed_is_told_and_not_offered(site: Path) -> None:
    keep(site, "run-1")
    shown = medfl("site", "models", site)
    assert shown.exit_code == 1
    assert "run run-1, round 7: the model of all hospitals" in shown.stdout
    assert "signed by nobody" in shown.stdout
    assert ".safetensors" not in shown.stdout


def test_machines_get_every_number(site: Path) -> None:
    model = keep(site, "run-1")
    (row,) = json.loads(medfl("site", "models", site, "--json").stdout)
    assert row["path"] == str(model.path)
    assert (row["study"], row["hash"], row["run"], row["round"]) == (STUDY.name, STUDY.approved_hash(), "run-1", 7)
    assert (row["test"]["scores"], row["is"], row["bytes"]) == ({"dice": 0.8734}, "unsigned", model.size)


def test_a_model_that_was_changed_or_not_kept_is_told_and_not_offered(site: Path) -> None:
    keep(site, "run-1").path.write_bytes(b"other")
    keep(site, "run-2").path.unlink()
    shown = medfl("site", "models", site)
    assert shown.exit_code == 1
    assert "changed since" in shown.stdout
    assert "the disk was full" in shown.stdout
    assert ".safetensors" not in shown.stdout


def test_a_site_without_models_says_why(site: Path) -> None:
    assert "keeps no model" in medfl("site", "models", site).stdout
    file = site / "site.toml"
    file.write_text(file.read_text().replace("keep-models = true", "keep-models = false"))
    assert "keep-models is false" in medfl("site", "models", site).stdout
    assert json.loads(medfl("site", "models", site, "--json").stdout) == []


def test_only_the_models_that_were_named_go_and_only_after_a_yes(site: Path) -> None:
    for run in ("run-1", "run-2", "run-3"):
        keep(site, run)
    runs = [model.run for model in list_kept(site / "models")]
    assert medfl("site", "models", site, "--remove", 2, answer="n\n").exit_code == 1
    assert "Nothing was removed" in medfl("site", "models", site, "--remove", 2, "--dry-run").stdout
    assert [model.run for model in list_kept(site / "models")] == runs
    removed = medfl("site", "models", site, "--remove", 2, "--remove", 2, answer="y\n")
    assert (removed.exit_code, f"run {runs[1]}" in removed.stdout) == (0, True)
    assert [model.run for model in list_kept(site / "models")] == [runs[0], runs[2]]
    refused = medfl("site", "models", site, "--remove", 3, "--yes")
    assert (refused.exit_code, "the list has 2 models" in refused.stderr) == (2, True)


def test_who_withdraws_an_approval_reads_that_its_model_stays(site: Path) -> None:
    approve(read_site(site), STUDY)
    keep(site, "run-1")
    assert "1 model of it stays here" in medfl("site", "withdraw", STUDY.name, "--site", site, "--yes").stdout
    assert len(list_kept(site / "models")) == 1
