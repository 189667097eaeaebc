"""Simulations that were killed or stopped: they go on to the same bits, or say what is not as it was."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medfl
from medfl.api.simulations import run_simulation
from medfl.clients.training.client_state import ClientState, state_folder
from medfl.data.simulated_sites import read_simulated_sites
from medfl.data.store.cache_key import site_root
from medfl.errors import RunError
from medfl.runs import checkpoint_files
from medfl.runs.history import Event, read_history
from medfl.runs.run_folder import Run
from medfl.server.joining import with_simulated_sites
from medfl.simulation.resumed_run import plan_resumption
from medfl.simulation.simulated_run import plan_simulation
from medfl.study import app_from_run_config

ROUND: Event = {"event": "round", "arm": "federated", "round": 1, "bytes-up": 5, "sites": {"hospital-1": {"status": "ok"}}}


@pytest.fixture
def begun(nodule_study: Path, nodule_hospitals: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of run folders in which one round is done, without training anything."""

    def make(*events: Event, **overrides: Any) -> Path:
        changes = {key.replace("__", "."): value for key, value in overrides.items()}
        simulation = plan_simulation(nodule_study, [nodule_hospitals], tmp_path / "runs", changes)
        app = with_simulated_sites(app_from_run_config(simulation.run_config))
        run = Run.create(tmp_path / "runs", app)
        for event in (run.start_event(), {"event": "joined", "site": "hospital-1"}, ROUND, *events):
            run.history.append(event)
            if event["event"] == "round":
                name = f"federated-round-{event['round']:04d}"
                checkpoint_files.save(run.checkpoints, name, {"w": np.zeros(1)}, {})
        return run.path

    return make


def test_an_interrupted_run_is_planned_with_its_own_study_and_sites(begun: Callable[..., Path]) -> None:
    run = begun(rounds=7, arms="federated,local")
    simulation = plan_resumption(run)
    assert (simulation.study, simulation.run) == (Run.open(run).study, run)
    assert [site.name for site in simulation.sites] == ["hospital-1", "hospital-2", "hospital-3"]
    assert simulation.run_config["server.resume"] is True


def test_a_run_that_is_running_is_refused(begun: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medfl.simulation.resumed_run._RELEASE_SECONDS", 0.0)
    run = begun()
    with Run.open(run).lock(), pytest.raises(RunError, match=r"\[RUN-BUSY\] the run .* is running\."):
        plan_resumption(run)


def test_only_one_of_two_that_go_on_with_a_run_does_and_the_other_writes_nothing(begun: Callable[..., Path]) -> None:
    run = begun()
    first, second = plan_resumption(run), plan_resumption(run)
    with first.reserve():
        before = {file.name: file.read_bytes() for file in run.iterdir() if file.is_file()}
        seen: list[object] = []
        with pytest.raises(RunError, match=r"\[RUN-BUSY\].* Ctrl-C where it runs") as caught:
            run_simulation(second, progress=seen.append)
        assert (seen, getattr(caught.value, "__notes__", [])) == ([], [])
        assert {file.name: file.read_bytes() for file in run.iterdir() if file.is_file()} == before
    with second.reserve():
        pass


def test_a_completed_run_is_refused(begun: Callable[..., Path]) -> None:
    with pytest.raises(RunError, match=r"\[RUN-FINISHED\] the run .* is completed\."):
        plan_resumption(begun({"event": "end", "status": "completed"}))


def test_a_run_of_another_version_is_refused(begun: Callable[..., Path]) -> None:
    run = begun()
    record = json.loads((run / "study.json").read_text())
    (run / "study.json").write_text(json.dumps(record | {"versions": record["versions"] | {"torch": "1.0"}}))
    with pytest.raises(RunError, match=r"\[RUN-OTHER-VERSION\] the run began with torch 1\.0"):
        plan_resumption(run)
    (run / "study.json").write_text(json.dumps(record | {"hash": "0" * 64}))
    with pytest.raises(RunError, match=r"\[RUN-OTHER-VERSION\].* another version of medfl"):
        plan_resumption(run)


def test_a_run_whose_data_is_gone_is_refused(begun: Callable[..., Path], nodule_hospitals: Path) -> None:
    run = begun()
    shutil.rmtree(nodule_hospitals / "hospital-1")
    with pytest.raises(RunError, match=r"\[RUN-OTHER-DATA\].* \(missing: hospital-1\)"):
        plan_resumption(run)
    shutil.rmtree(nodule_hospitals)
    with pytest.raises(RunError, match=r"\[RUN-OTHER-DATA\].* there is no folder"):
        plan_resumption(run)


def test_a_run_whose_data_has_one_more_hospital_is_refused(begun: Callable[..., Path], nodule_hospitals: Path) -> None:
    run = begun()
    more = shutil.copytree(nodule_hospitals / "hospital-1", nodule_hospitals / "hospital-4") / "site.toml"
    more.write_text(more.read_text().replace("hospital-1", "hospital-4"))
    with pytest.raises(RunError, match=r"\[RUN-OTHER-DATA\].* \(new: hospital-4\)"):
        plan_resumption(run)


def test_a_run_under_another_name_is_refused(begun: Callable[..., Path]) -> None:
    run = begun()
    with pytest.raises(RunError, match=rf"\[RUN-RENAMED\].* nodule/{run.name}"):
        plan_resumption(run.rename(run.with_name("mine")))


@pytest.mark.parametrize("algorithm", ["ditto", "moon", "fedbn"])
def test_a_run_whose_sites_have_lost_what_they_kept_is_refused(algorithm: str, begun: Callable[..., Path]) -> None:
    with pytest.raises(RunError, match=r"\[STATE-LOST\] what hospital-1 kept"):
        plan_resumption(begun(strategy__name=algorithm))


@pytest.fixture
def keep(nodule_hospitals: Path) -> Callable[..., Path]:
    """Return a function that does a round of the first hospital as far as what it keeps, and returns the folder of that."""

    def do(run: Path, server_round: int, *names: str) -> Path:
        opened = Run.open(run)
        site = next(site for site in read_simulated_sites(opened.app.simulation) if site.name == "hospital-1")
        folder = state_folder(site_root(site), opened.study.approved_hash(), run.name)
        for name in names:
            ClientState(folder, server_round).save(name, {"w": np.zeros(1)})
        ClientState(folder, server_round).close_round()
        return folder

    return do


@pytest.mark.parametrize("lost", ["ditto", "personal"])
def test_each_of_the_things_that_a_site_kept_must_be_there(
    lost: str, begun: Callable[..., Path], keep: Callable[..., Path]
) -> None:
    run = begun(strategy__name="ditto")
    folder = keep(run, 1, "ditto", "personal")
    plan_resumption(run)
    keep(run, 2, "ditto", "personal")  # of the round that broke off
    plan_resumption(run)
    for file in folder.glob(f"{lost}-*"):
        file.unlink()
    with pytest.raises(RunError, match="STATE-LOST"):
        plan_resumption(run)


@pytest.mark.parametrize("rounds", [(3, 4), (2, 3)])
def test_state_of_later_rounds_is_not_that_of_the_last_complete_one(
    rounds: tuple[int, ...], begun: Callable[..., Path], keep: Callable[..., Path]
) -> None:
    run = begun(strategy__name="ditto")
    for server_round in (1, *rounds):
        keep(run, server_round, "ditto")
    with pytest.raises(RunError, match="STATE-LOST"):
        plan_resumption(run)


def test_state_of_an_earlier_round_is_lost_unless_the_replies_since_then_did_not_count(
    begun: Callable[..., Path], keep: Callable[..., Path]
) -> None:
    for status in ("late", "ok"):
        run = begun({**ROUND, "round": 2, "sites": {"hospital-1": {"status": status}}}, strategy__name="ditto")
        keep(run, 1, "ditto")
        if status == "late":
            plan_resumption(run)
            continue
        with pytest.raises(RunError, match="STATE-LOST"):
            plan_resumption(run)


@pytest.mark.parametrize(
    ("model", "event"),
    [
        ("federated-round-0001", {}),
        ("federated-strategy-round-0001", {**ROUND, "remembers": True}),
        ("local-hospital-1-round-0001", {**ROUND, "arm": "local"}),
    ],
)
def test_a_run_whose_last_models_are_gone_is_refused_before_anything_is_written(
    model: str, event: Event, begun: Callable[..., Path]
) -> None:
    run = begun(*([event] if event else []), arms="federated,local")
    (run / "checkpoints" / f"{model}.safetensors").unlink(missing_ok=True)
    before = read_history(run)
    with pytest.raises(RunError, match=rf"\[CHECKPOINT-MISSING\].*{model}.*Put back a copy of the folder 'checkpoints'"):
        plan_resumption(run)
    assert read_history(run) == before


def test_a_run_of_a_federation_is_refused(begun: Callable[..., Path]) -> None:
    run = begun()
    record = json.loads((run / "study.json").read_text())
    (run / "study.json").write_text(json.dumps(record | {"server": record["server"] | {"enrolled": ["north"]}}))
    with pytest.raises(RunError, match=r"\[RUN-FEDERATED\]"):
        plan_resumption(run)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "how", "rounds"),
    [
        ("embedded", signal.SIGKILL, 8),
        ("embedded", signal.SIGINT, 8),
        ("ray", signal.SIGKILL, 8),
        pytest.param("ray", signal.SIGINT, 40, marks=pytest.mark.long),  # Flower finishes what it has begun
    ],
)
def test_a_simulation_goes_on_to_the_same_bits(
    engine: str, how: signal.Signals, rounds: int, nodule_study: Path, nodule_hospitals: Path, tmp_path: Path
) -> None:
    if engine == "ray":
        pytest.importorskip("ray")
    study = medfl.open_study(nodule_study).change({"rounds": rounds, "arms": "federated,local", "strategy.name": "ditto"})
    whole = medfl.simulate(study, nodule_hospitals, tmp_path / "whole", workers=2)
    words = [
        "simulate",
        str(nodule_study),
        "--data",
        str(nodule_hospitals),
        "--engine",
        engine,
        "--out",
        str(tmp_path / "runs"),
    ]
    words += ["-c", f"rounds={rounds}", "-c", "arms=federated,local", "-c", "strategy.name=ditto"]
    run = _end_in_round(3, [sys.executable, "-m", "medfl", *words], how, tmp_path / "runs")
    if engine == "embedded":  # what Ray has started ends a moment after the command, for which resuming waits
        assert medfl.list_runs(tmp_path / "runs")[0].status == ("stopped" if how == signal.SIGINT else "interrupted")
    resume = [sys.executable, "-m", "medfl", "resume", str(run), "--engine", engine]
    done = subprocess.run(resume, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert _result_of(run) == _result_of(whole.path)
    assert [event["event"] for event in read_history(run)].count("resume") == 1


def _end_in_round(server_round: int, command: list[str], how: signal.Signals, out: Path) -> Path:
    """Start a simulation, end it once a round is done, and return its folder."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 200
        while not any(e["event"] == "round" and e["round"] == server_round for p in out.glob("*/*") for e in read_history(p)):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(how)
        assert process.wait(60) in (130, -signal.SIGKILL)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    (run,) = out.glob("*/*")
    return run


def _result_of(run: Path) -> dict[str, Any]:
    """Return the bits of all models, and the rounds and tests of the history without their times."""
    events = [_plain(event) for event in read_history(run) if event["event"] in ("round", "scored", "test")]
    models = {name: checkpoint_files.load(run, name).arrays for name in ("best", "final")}
    bits = {name: {key: np.asarray(array).tobytes() for key, array in arrays.items()} for name, arrays in models.items()}
    return {"bits": bits, "events": events}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key != "time" and not key.endswith("seconds")}
    return [_plain(item) for item in value] if isinstance(value, list) else value
