"""A run in a notebook: tables, models, report, and what is said when there is no such thing."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import medfl
from medfl import report
from medfl.api import OpenRun, runs
from medfl.clients.networks.arrays import get_arrays
from medfl.clients.tasks.inference import read_images
from medfl.clients.training.client_state import state_folder
from medfl.data.simulated_sites import read_simulated_sites
from medfl.data.store.cache_key import site_root
from medfl.data.store.prepare import prepare
from medfl.errors import RunError
from medfl.runs import Run, checkpoint_files, read_history


def test_each_round_is_a_row(finished: OpenRun) -> None:
    rounds = finished.rounds
    assert list(rounds.arm + rounds["round"].astype(str)) == ["federated1", "federated2", "local1", "local2"]
    assert (rounds.answered == 2).all()
    closing = [e["score"] for e in read_history(finished.path) if e["event"] == "scored" and e["arm"] == "federated"]
    assert rounds[rounds.arm == "federated"].score.iloc[-1] == closing[-1]


def test_scores_tell_whose_model_was_scored_on_whose_patients(finished: OpenRun) -> None:
    scores = finished.scores
    test = scores[(scores.split == "test") & (scores.metric == "auroc") & (scores["class"] == "")]
    assert sorted(set(zip(test.arm, test.owner, strict=True))) == [
        ("federated", ""), ("federated", "hospital-1"), ("federated", "hospital-2"),
        ("local", "hospital-1"), ("local", "hospital-2"),
    ]  # fmt: skip
    shared = test[test.owner == ""]
    assert sorted(shared.site) == ["", "hospital-1", "hospital-2"]
    (event,) = [e for e in read_history(finished.path) if e["event"] == "test" and e["arm"] == "federated"]
    assert shared[shared.site == ""].value.item() == event["derived"]["auroc"]
    assert shared[shared.site == ""].patients.item() == shared[shared.site != ""].patients.sum()
    assert set(scores[scores.metric == "sensitivity"]["class"]) == {"clear", "nodule"}
    validation = scores[(scores.split == "validation") & (scores.arm == "federated")]
    assert set(validation["round"]) == {1, 2}


def test_scores_of_patients_are_there_for_the_shared_and_the_personal_models(finished: OpenRun) -> None:
    patients = finished.patient_scores
    assert set(patients.owner) == {"", "hospital-1", "hospital-2"}
    assert patients[patients.owner == ""].patient.nunique() == 4
    sums = patients[patients.owner == "hospital-1"].groupby("patient").value.sum()
    assert np.allclose(sums, sums.round(), atol=1e-4)  # one for each label of the patient


def test_the_local_model_is_the_network_with_the_weights_of_its_round(finished: OpenRun) -> None:
    net = finished.model(arm="local", site="hospital-1", which="final")
    saved = checkpoint_files.load(finished.path / "checkpoints", "local-hospital-1-round-0002").arrays
    assert not net.training
    assert all(np.array_equal(array, saved[name]) for name, array in get_arrays(net).items())


def test_a_personal_model_gives_the_probabilities_that_were_tested(finished: OpenRun) -> None:
    (site, _) = read_simulated_sites(Run.open(finished.path).app.simulation)
    cases = prepare(site, finished.study).get_split("test")
    net = finished.model(site=site.name)
    with torch.inference_mode():
        shares = torch.softmax(net(read_images(finished.study, cases)), dim=1)[:, 1].tolist()
    patients = finished.patient_scores
    tested = patients[(patients.owner == site.name) & (patients["class"] == "nodule")].value
    assert sorted(tested) == pytest.approx(sorted(shares), abs=1e-5)


def test_the_last_model_of_a_site_has_the_shared_layers_and_its_own(finished: OpenRun) -> None:
    shared = checkpoint_files.load(finished.path, "final").arrays
    first, second = (get_arrays(finished.model(site=name, which="final")) for name in ("hospital-1", "hospital-2"))
    assert all(np.array_equal(first[name], array) for name, array in shared.items())
    own = set(first) - set(shared)
    assert own
    assert all(not np.array_equal(first[name], second[name]) for name in own)


@pytest.fixture
def stopped(finished: OpenRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenRun:
    """Return a run that was stopped in round 2, whose sites had trained that round already."""
    folder, store = tmp_path / finished.path.name, tmp_path / "store"
    shutil.copytree(finished.path, folder)
    shutil.copytree(os.environ["MEDFL_STORE"], store, dirs_exist_ok=True)
    monkeypatch.setenv("MEDFL_STORE", str(store))
    for left in (*folder.glob("best.*"), *folder.glob("final.*"), *folder.glob("checkpoints/federated-*")):
        left.unlink()
    final = checkpoint_files.load(finished.path, "final")
    checkpoint_files.save(folder / "checkpoints", "federated-round-0001", final.arrays, {**final.meta, "round": 1})
    return medfl.open_run(folder)


def test_the_last_model_of_a_site_has_the_layers_of_the_round_of_its_shared_ones(stopped: OpenRun) -> None:
    (site, _) = read_simulated_sites(Run.open(stopped.path).app.simulation)
    state = state_folder(site_root(site), stopped.study.approved_hash(), stopped.path.name)
    own = checkpoint_files.load(state, "layers-round-00001").arrays
    net = get_arrays(stopped.model(site=site.name, which="final"))
    assert own
    assert all(np.array_equal(net[name], array) for name, array in own.items())


def test_a_run_that_was_stopped_has_chosen_no_best_model(stopped: OpenRun) -> None:
    with pytest.raises(RunError, match="has not chosen its best model"):
        stopped.model(site="hospital-1")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"site": "hospital-1", "which": "bset"}, "'bset'. Take 'best' or 'final'"),
        ({}, "Name the site whose layers complete it"),
        ({"arm": "central"}, "Name one that it has: federated and local"),
        ({"arm": "local"}, "Name one of the sites: hospital-1 and hospital-2"),
        ({"arm": "local", "site": "x"}, "no site 'x' took part"),
        ({"site": "x"}, "no site 'x' took part"),
    ],
)
def test_a_model_that_is_not_there_is_refused_with_what_to_do(asked: dict[str, str], said: str, finished: OpenRun) -> None:
    with pytest.raises(RunError, match=said) as caught:
        finished.model(**asked)  # type: ignore[arg-type]
    assert caught.value.code == "RUN-MODEL"


def test_where_the_store_is_gone_the_sites_part_is_said_to_be_missing(
    finished: OpenRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDFL_STORE", str(tmp_path / "empty"))
    with pytest.raises(RunError, match="not on this machine, or was purged"):
        finished.model(site="hospital-1")


def test_a_report_is_written_when_it_is_missing_or_older_than_the_run(finished: OpenRun) -> None:
    finished.report.unlink()
    report = finished.report
    assert report.is_file()
    os.utime(report, (1, 1))
    assert finished.report.stat().st_mtime > 1


def test_what_happens_while_a_report_is_written_makes_it_an_old_one(
    finished: OpenRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / finished.path.name
    shutil.copytree(finished.path, folder)
    run, written = medfl.open_run(folder), list[Path]()

    def write_while_the_run_goes_on(path: Path) -> Path:
        written.append(report.write_report(path))
        os.utime(path / "history.jsonl", ns=(times[len(written) - 1],) * 2)
        return written[-1]

    monkeypatch.setattr(runs, "write_report", write_while_the_run_goes_on)
    before = (folder / "history.jsonl").stat().st_mtime_ns
    times = [before + 1000, before + 1000, before + 1000]
    run.write_report()
    assert len(written) == 1
    _ = run.report
    _ = run.report
    assert len(written) == 2
    run.outcome()
    assert len(written) == 3


def test_a_run_stays_where_it_is_when_the_working_folder_changes(finished: OpenRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished.path.parents[1])
    run = medfl.open_run(finished.path.relative_to(Path.cwd()))
    (summary,) = medfl.list_runs(".")
    monkeypatch.chdir("/")
    assert run.status == medfl.open_run(summary.path).status == "completed"


def test_a_run_is_found_and_opened(finished: OpenRun) -> None:
    (summary,) = medfl.list_runs(finished.path.parents[1])
    again = medfl.open_run(str(summary.path))
    assert again == finished
    assert again.status == summary.status == "completed"
    with pytest.raises(RunError, match="RUN-MISSING"):
        medfl.open_run(finished.path.parent)


def test_without_pandas_it_is_said_how_to_install_it(finished: OpenRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(RunError, match=r"PANDAS-MISSING.*pip install 'flwr-medfl\[notebook\]'"):
        _ = finished.rounds
