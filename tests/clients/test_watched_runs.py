"""Not one false alarm: honest runs of every strategy, watched by hospitals that are always there, miss rounds, or join late."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medfl.data.synthetic.hospitals import make_brain_hospitals
from medfl.simulation.simulated_run import plan_simulation
from tests.clients.watched_run import SGD, Largest, conduct_watched, list_runs

ROOT = Path(__file__).parents[2]
RUNS = list_runs()
FAST = ("fedavg", "fedadam", "steps+scaffold", "steps+feddyn", "cyclic", "local+whole", "low-rank")
LONG = ("shapley", "krum", "fedrep", "fedpidavg", "fedcostwavg")  # to the watch like leave-one-out, multikrum, fedper, fedavg
SAFETY = 3.0  # between the largest figure of an honest run and the limit


def figures_of(study: Path, data: Path, out: Path, changes: dict[str, Any]) -> Largest:
    simulation = plan_simulation(study, [data], out / "runs", changes | {"simulation.store": str(out / "store")})
    return conduct_watched(dict(simulation.run_config), len(simulation.sites), out / "budgets")


def assert_no_alarm(largest: Largest) -> None:
    assert {"step", "largest step", "range"} <= largest.keys()
    assert {what: found for what, found in largest.items() if not found[0] <= 1 / SAFETY} == {}


@pytest.mark.parametrize("name", FAST)
def test_no_honest_run_of_a_small_study_comes_near_a_limit(
    name: str, nodule_study: Path, nodule_hospitals: Path, tmp_path: Path
) -> None:
    assert_no_alarm(figures_of(nodule_study, nodule_hospitals, tmp_path, {"rounds": 4, **RUNS[name]}))


@pytest.mark.parametrize(
    "name",
    [pytest.param(k, marks=pytest.mark.long if k in LONG else pytest.mark.slow) for k in sorted(RUNS.keys() - set(FAST))],
)
def test_no_other_strategy_does_either(name: str, nodule_study: Path, nodule_hospitals: Path, tmp_path: Path) -> None:
    assert_no_alarm(figures_of(nodule_study, nodule_hospitals, tmp_path, {"rounds": 4, **RUNS[name]}))


@pytest.mark.long
@pytest.mark.parametrize("name", ["fedavg", "steps+fedavg", "steps+scaffold", "steps+feddyn"])
def test_nor_does_a_long_run(name: str, nodule_study: Path, nodule_hospitals: Path, tmp_path: Path) -> None:
    assert_no_alarm(figures_of(nodule_study, nodule_hospitals, tmp_path, {**RUNS[name], "rounds": 40}))


@pytest.mark.long
@pytest.mark.parametrize("strategy", ["fedavg", "scaffold", "fedadam", "feddyn"])
def test_no_honest_run_of_a_sample_study_comes_near_a_limit(strategy: str, tmp_path: Path) -> None:
    pytest.importorskip("nilearn")
    brains = make_brain_hospitals(tmp_path / "brains", patients=(6, 6, 6))
    changes = {"rounds": 3, "training.local-steps": 10, "strategy.name": strategy, **(SGD if strategy == "scaffold" else {})}
    assert_no_alarm(figures_of(ROOT / "sample_configs" / "brain-tissue", brains, tmp_path, changes))


@pytest.mark.long
@pytest.mark.realdata
@pytest.mark.parametrize("strategy", ["fedavg", "scaffold", "fedadam", "feddyn"])
@pytest.mark.parametrize(
    ("study", "data"),
    [
        ("breast-ultrasound", "breast-ultrasound"),
        ("chest-xray-view", "chest-xray-hospitals"),
        ("hippocampus", "hippocampus"),
        ("lungs", "chest-xray-hospitals"),
    ],
)
def test_nor_does_one_on_real_images(study: str, data: str, strategy: str, real_data: Path, tmp_path: Path) -> None:
    changes = {"rounds": 3, "training.local-steps": 6, "strategy.name": strategy, **(SGD if strategy == "scaffold" else {})}
    assert_no_alarm(figures_of(ROOT / "sample_configs" / study, real_data / data, tmp_path, changes))
