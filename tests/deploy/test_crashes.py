"""Runs whose processes are killed: they reach the same bits as without the crash, or report why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medfl.data.synthetic.hospitals import make_nodule_images
from medfl.runs.history import Event
from medfl.simulation.simulated_run import plan_simulation
from tests.deploy.local_server import needs_nginx, wait_for
from tests.deploy.loopback import Loopback, loopback, override_options
from tests.deploy.test_federation import bits_of, hospital_folders
from tests.studies import NODULE_STUDY

pytestmark = [pytest.mark.slow, needs_nginx]

OVERRIDES = ("rounds=3", "strategy.quorum=3")
STAGES = ("before-send", "while-sites-train", "while-folding", "while-the-checkpoint-is-written")


@pytest.fixture(scope="module")
def bits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return what the run of three rounds with three hospitals ends with, by its simulation."""
    folder = tmp_path_factory.mktemp("simulated")
    (folder / "nodule").mkdir()
    (folder / "nodule" / "pyproject.toml").write_text(NODULE_STUDY)
    hospitals = make_nodule_images(folder / "hospitals", hospitals=3, patients=12, seed=1)
    changes = {"rounds": 3, "strategy.quorum": 3, "simulation.store": str(folder / "store")}
    simulation = plan_simulation(folder / "nodule", [hospitals], folder / "runs", changes)
    simulation.start(workers=1)
    return bits_of(simulation.run)


def run_folder(federation: Loopback, name: str) -> Path:
    return federation.runs / "nodule" / name


def completed_rounds(events: list[Event]) -> list[int]:
    return [event["round"] for event in events if event["event"] == "round"]


@pytest.mark.parametrize("stages", [STAGES[2:3], pytest.param(STAGES, marks=pytest.mark.long)], ids=["one", "all"])
def test_a_run_that_dies_anywhere_resumes_to_the_same_bits(
    stages: tuple[str, ...], bits: dict[str, bytes], nodule_study: Path, nodule_hospitals: Path, tmp_path: Path
) -> None:
    with loopback(tmp_path, hospital_folders(nodule_hospitals)) as federation:
        federation.approve(nodule_study, *OVERRIDES, runs=len(stages))
        federation.server_up(fault=f"*:2:{tmp_path / 'stage'}")
        federation.sites_up()
        for stage in stages:
            (tmp_path / "stage").write_text(stage)
            done = federation.medfl(
                "run", nodule_study, "--federation", federation.folder, "--json", *override_options(OVERRIDES), check=False
            )
            assert done.returncode == 1, stage
            assert "RUN-FAILED" in done.stderr
            name = federation.newest()
            assert completed_rounds(federation.events(name)) == [1], stage
            assert not (tmp_path / "stage").exists()
            output = federation.medfl("resume", name, "--federation", federation.folder, "--json").stdout
            assert bits_of(Path(json.loads(output)["run"])) == bits, stage
            assert completed_rounds(federation.events(name)) == [1, 2, 3]
            logs = [run_folder(federation, name) / "audit.jsonl", *(p / "audit.jsonl" for p in federation.hospitals.values())]
            federation.medfl("audit", "verify", *logs)


def test_a_machine_that_dies_while_hospitals_train_resumes_to_the_same_bits(
    bits: dict[str, bytes], nodule_study: Path, nodule_hospitals: Path, tmp_path: Path
) -> None:
    with loopback(tmp_path, hospital_folders(nodule_hospitals)) as federation:
        federation.approve(nodule_study, *OVERRIDES)
        federation.server_up()
        federation.sites_up(fault=f"delay:2:{tmp_path / 'delayed'}", seconds=8.0)
        federation.medfl("run", nodule_study, "--federation", federation.folder, "--detach", *override_options(OVERRIDES))
        name = federation.newest()
        wait_for((tmp_path / "delayed").exists)
        federation.kill("server")
        federation.server_up()
        done = federation.medfl("resume", name, "--federation", federation.folder, "--json")
        assert bits_of(Path(json.loads(done.stdout)["run"])) == bits


def test_a_hospital_that_dies_is_awaited_when_the_quorum_needs_it(
    bits: dict[str, bytes], nodule_study: Path, nodule_hospitals: Path, tmp_path: Path
) -> None:
    with loopback(tmp_path, hospital_folders(nodule_hospitals)) as federation:
        federation.approve(nodule_study, *OVERRIDES)
        federation.server_up()
        federation.sites_up(fault=f"delay:2:{tmp_path / 'delayed'}", at="hospital-3", seconds=600.0)
        federation.medfl("run", nodule_study, "--federation", federation.folder, "--detach", *override_options(OVERRIDES))
        name = federation.newest()
        wait_for((tmp_path / "delayed").exists)
        federation.kill("hospital-3")
        federation.sites_up("hospital-3")
        wait_for(lambda: federation.status(name) == "finished:completed", 400.0)
        assert bits_of(run_folder(federation, name)) == bits


def test_a_hospital_that_dies_is_left_out_with_the_reason_and_below_the_quorum_the_run_is_refused(
    nodule_study: Path, nodule_hospitals: Path, tmp_path: Path
) -> None:
    overrides = ("rounds=3", "strategy.quorum=2", "strategy.deadline=100", "strategy.wait=10")
    with loopback(tmp_path, hospital_folders(nodule_hospitals)) as federation:
        federation.approve(nodule_study, *overrides)
        federation.server_up()
        federation.sites_up(fault=f"delay:2:{tmp_path / 'delayed'}", at="hospital-3", seconds=600.0)
        federation.medfl("run", nodule_study, "--federation", federation.folder, "--detach", *override_options(overrides))
        name = federation.newest()
        wait_for((tmp_path / "delayed").exists)
        federation.kill("hospital-3")
        wait_for(lambda: federation.status(name) == "finished:completed", 400.0)
        second, third = [e["sites"]["hospital-3"] for e in federation.events(name) if e["event"] == "round"][1:]
        assert (second["status"], second["reason"][:11]) == ("failed", "[NODE-LOST]")
        assert (third["status"], third["reason"][:15]) == ("absent", "[NOT-CONNECTED]")
        federation.kill("hospital-2")
        done = federation.medfl(
            "run", nodule_study, "--federation", federation.folder, "--json", *override_options(overrides), check=False
        )
        assert done.returncode == 1
        assert "TOO-FEW-SITES" in done.stderr
        assert "hospital-2" in done.stderr
        assert "hospital-3" in done.stderr
