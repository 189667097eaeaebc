"""A whole study in the embedded engine: the files of a run, the same bits in each repetition, and failures."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from medfl.errors import ConfigError, EngineError, MedflError, RunError
from medfl.runs import checkpoint_files
from medfl.runs.history import HISTORY_FILE, History, read_history
from medfl.simulation.simulated_run import SimulatedRun, plan_simulation


def plan(study: Path, data: Path, out: Path, **overrides: object) -> SimulatedRun:
    return plan_simulation(study, [data], out, {key.replace("__", "."): value for key, value in overrides.items()})  # type: ignore[misc]


def bits_of(run: Path) -> dict[str, bytes]:
    return {name: np.asarray(array).tobytes() for name, array in checkpoint_files.load(run, "final").arrays.items()}


def test_a_run_leaves_everything_that_is_needed_to_trust_it(nodule_study: Path, nodule_hospitals: Path, tmp_path: Path) -> None:
    simulation = plan(nodule_study, nodule_hospitals, tmp_path / "runs", arms="federated,local")
    simulation.start(workers=2)
    events = read_history(simulation.run)
    kinds = [event["event"] for event in events]
    assert kinds[0] == "start"
    assert kinds[-1] == "end"
    assert events[-1]["status"] == "completed"
    assert kinds.count("joined") == 3
    assert [(e["arm"], e["round"]) for e in events if e["event"] == "round"] == [
        ("federated", 1),
        ("federated", 2),
        ("local", 1),
        ("local", 2),
    ]
    tests = [event for event in events if event["event"] == "test"]
    assert [event["model"].get("site", "all") for event in tests].count("all") == 1
    assert len(tests) == 4  # the federated model, and one of each hospital
    assert all(len(event["sites"]) == 3 for event in tests)
    assert 0 <= tests[0]["derived"]["auroc"] <= 1
    assert {path.name for path in simulation.run.glob("*.safetensors")} == {"best.safetensors", "final.safetensors"}
    assert json.loads((simulation.run / "study.json").read_text())["study"]["name"] == "nodule"


def test_patients_never_cross_splits(nodule_study: Path, nodule_hospitals: Path, tmp_path: Path) -> None:
    from medfl.data.store.prepare import prepare

    simulation = plan(nodule_study, nodule_hospitals, tmp_path / "runs")
    for site in simulation.sites:
        prepared = prepare(site, simulation.study)
        of_split = {s: {case.patient for case in prepared.get_split(s)} for s in ("train", "validation", "test")}
        assert all(of_split.values())
        assert sum(len(p) for p in of_split.values()) == len(set.union(*of_split.values()))


def test_looking_for_a_gpu_brings_no_torch_into_the_servers_process() -> None:
    code = "import sys; from medfl.simulation import simulated_run, worker_pool; worker_pool.has_cuda()\n"
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_the_same_study_and_seed_give_the_same_bits(nodule_study: Path, nodule_hospitals: Path, tmp_path: Path) -> None:
    runs = []
    for name, workers in (("one", 1), ("three", 3)):
        simulation = plan(nodule_study, nodule_hospitals, tmp_path / name)
        simulation.start(workers=workers)
        runs.append(bits_of(simulation.run))
    assert all(bits == runs[0] for bits in runs[1:])
    other = plan(nodule_study, nodule_hospitals, tmp_path / "other", seed=4)
    other.start(workers=2)
    assert bits_of(other.run) != runs[0]


@pytest.mark.slow
def test_ray_gives_the_same_bits_as_the_embedded_engine(
    nodule_study: Path, nodule_hospitals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    embedded = plan(nodule_study, nodule_hospitals, tmp_path / "embedded")
    embedded.start(workers=2)
    ray = plan(nodule_study, nodule_hospitals, tmp_path / "ray")
    monkeypatch.setenv("MEDFL_TEST_MARK", str(tmp_path))
    ray.start("ray", workers=2)
    assert bits_of(ray.run) == bits_of(embedded.run)
    assert _wait_for_the_end(f"MEDFL_TEST_MARK={tmp_path}") == []


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["embedded", "ray"])
def test_ctrl_c_ends_the_run_and_leaves_no_process(
    engine: str, nodule_study: Path, nodule_hospitals: Path, tmp_path: Path
) -> None:
    if engine == "ray":
        pytest.importorskip("ray")
    command = [sys.executable, "-m", "medfl", "simulate", str(nodule_study), "--data", str(nodule_hospitals)]
    command += ["--out", str(tmp_path / "runs"), "--engine", engine, "-c", "rounds=100000"]
    mark = f"MEDFL_TEST_MARK={tmp_path}"
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"MEDFL_TEST_MARK": str(tmp_path)},
        start_new_session=True,
        preexec_fn=_receive_ctrl_c,
    )
    try:
        deadline = time.monotonic() + 400
        while time.monotonic() < deadline and not _has_round(tmp_path / "runs"):
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=180)
        assert process.returncode == 130, errors
        assert "Traceback" not in errors
        (run,) = (tmp_path / "runs").glob("nodule/*")
        assert f"medfl resume {run}" in errors
        assert _wait_for_the_end(mark) == []
    finally:
        for pid in _processes_with_environment(mark):
            os.kill(int(pid), signal.SIGKILL)
    if engine == "embedded":
        (run,) = (tmp_path / "runs").glob("nodule/*")
        assert read_history(run)[-1]["status"] == "stopped"


def test_a_hospital_that_cannot_take_part_is_recorded_with_its_code(
    nodule_study: Path, nodule_hospitals: Path, tmp_path: Path
) -> None:
    sites = sorted(nodule_hospitals.glob("*/site.toml"))
    text = re.sub(r"min-cases = .*\n", "", sites[0].read_text())
    sites[0].write_text(text.replace("[policy]\n", "[policy]\nmin-cases = 999\n"))
    simulation = plan(nodule_study, nodule_hospitals, tmp_path / "runs", strategy__quorum=2)
    simulation.start(workers=2)
    events = read_history(simulation.run)
    assert [(e["site"], e["reason"]) for e in events if e["event"] == "failed"] == [
        ("hospital-1", "[SITE-TOO-SMALL] The details are in the log of the site.")
    ]
    assert [e["event"] for e in events].count("joined") == 2


def test_without_a_quorum_every_hospital_is_needed_and_the_cause_is_named(
    nodule_study: Path, nodule_hospitals: Path, tmp_path: Path
) -> None:
    shutil.rmtree(nodule_hospitals / "hospital-2" / "data")
    simulation = plan(nodule_study, nodule_hospitals, tmp_path / "runs")
    missing = r"\[TOO-FEW-SITES\] 2 of 3 .* hospital-2, \[DATA-ROOT\] The data folder of the site does not exist\."
    with pytest.raises(MedflError, match=missing):
        simulation.start(workers=2)
    assert read_history(simulation.run)[-1]["status"] == "failed"


@pytest.mark.parametrize(("new", "told"), [([], "Flower ended the run"), (["disk is full"], "under Ray failed: disk is full")])
def test_a_failure_under_ray_is_explained_by_this_attempt_and_not_by_an_earlier_one(
    new: list[str], told: str, nodule_study: Path, nodule_hospitals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulation = plan(nodule_study, nodule_hospitals, tmp_path / "runs")
    simulation.run.mkdir(parents=True)
    history = History(simulation.run / HISTORY_FILE)
    history.append({"event": "end", "status": "failed", "reason": "earlier"})

    def fail(*_: object, **__: object) -> None:
        for reason in new:
            history.append({"event": "end", "status": "failed", "reason": reason})
        raise EngineError("RAY-FAILED", "Flower ended the run.")

    monkeypatch.setattr("medfl.simulation.simulated_run.run_ray", fail)
    with pytest.raises(EngineError, match=told) as failed:
        simulation.start("ray")
    assert "earlier" not in str(failed.value)


def test_data_without_a_hospital_is_refused_before_anything_starts(nodule_study: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no folder"):
        plan(nodule_study, tmp_path / "nowhere", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_data_that_says_it_is_of_another_modality_is_refused(
    nodule_study: Path, nodule_hospitals: Path, tmp_path: Path
) -> None:
    declaration = nodule_hospitals / "hospital-2" / "data" / "dataset.json"
    declaration.write_text('{"modality": {"0": "MRI"}}')
    with pytest.raises(ConfigError, match=r"task\.modality: the study is of XR, and the dataset\.json of the data says MR"):
        plan(nodule_study, nodule_hospitals, tmp_path / "runs")
    declaration.write_text('{"modality": {"0": "MRI", "1": "photograph"}}')  # in doubt it is no contradiction
    assert plan(nodule_study, nodule_hospitals, tmp_path / "runs").sites


def test_a_run_folder_that_cannot_be_made_is_a_clear_error(nodule_study: Path, nodule_hospitals: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file stands where the folder should be")
    with pytest.raises((RunError, EngineError), match="RUN-FOLDER"):
        plan(nodule_study, nodule_hospitals, tmp_path / "runs").start(workers=1)


def _receive_ctrl_c() -> None:
    """Undo what a shell does to programs that it starts in the background: they ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _has_round(out: Path) -> bool:
    return any(event["event"] == "round" for run in out.glob("nodule/*") for event in read_history(run))


def _wait_for_the_end(mark: str) -> list[str]:
    """Return the processes that are still there after two minutes: on a busy machine the last ones need a moment."""
    end = time.monotonic() + 120
    while _processes_with_environment(mark) and time.monotonic() < end:
        time.sleep(0.5)
    return _processes_with_environment(mark)


def _processes_with_environment(mark: str) -> list[str]:
    return [entry.parent.name for entry in Path("/proc").glob("[0-9]*/environ") if mark in _content(entry)]


def _content(path: Path) -> str:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
