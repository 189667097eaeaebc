"""A sweep: its strategies, their budget, and that a failure or an interruption costs no more than its own run."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from medfl.data.store.prepare import prepare
from medfl.errors import ConfigError, EngineError, RunError
from medfl.runs import Run
from medfl.runs.history import Event, read_history
from medfl.simulation.matched_runs import matched_rounds
from medfl.simulation.simulated_run import SimulatedRun
from medfl.simulation.strategy_specs import parse_strategy_specs
from medfl.simulation.sweep_runner import Sweep, plan_sweep, plan_sweep_resumption, run_sweep

Planner = Callable[..., Sweep]


@pytest.fixture
def plan(nodule_study: Path, nodule_hospitals: Path, tmp_path: Path) -> Planner:
    """Plan a sweep: ``plan("fedavg", "local", seeds=[1, 2])``."""

    def make(*strategies: str, overrides: dict[str, object] | None = None, **options: object) -> Sweep:
        settings = {"rounds": 8, **(overrides or {})}
        return plan_sweep(nodule_study, [nodule_hospitals], tmp_path / "sweeps", strategies, overrides=settings, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make a simulation write only its start and its end; krum and rfa fail, moon is interrupted."""
    started: list[str] = []

    def start(self: SimulatedRun, engine: str = "embedded", workers: int = 0) -> None:
        name = self.study.strategy.name
        started.append(name)
        run = Run.create(self.run.parents[1], self.app)
        run.history.append(run.start_event())
        if name == "krum":
            raise EngineError("ENGINE-LOST", "the workers are gone.")
        if name == "rfa":
            raise ZeroDivisionError
        if name == "moon":
            raise KeyboardInterrupt
        run.history.append({"event": "end", "status": "completed", "seconds": 1.0})

    monkeypatch.setattr(SimulatedRun, "start", start)
    return started


@pytest.mark.parametrize(
    ("text", "overrides"),
    [
        ("fedavg", {}),
        ("fedprox:mu=0.1", {"strategy.options.mu": 0.1}),
        ("fedadam:beta1=0.8:tau=1e+3", {"strategy.options.beta1": 0.8, "strategy.options.tau": 1000.0}),
        ("cyclic:order=name", {"strategy.options.order": "name"}),
        ("fedavg+int8", {"compression.codec": "int8"}),
        ("fedavg+top-k=0.05", {"compression.codec": "top-k", "compression.keep": 0.05}),
        ("fedavg+norm+head+bf16", {"personal.layers": "norm,head", "compression.codec": "bf16"}),
        ("fedavg+clip-norm=2.5", {"filtering.clip-norm": 2.5}),
        ("fedavg+fine-tune=20", {"personal.fine-tune-steps": 20}),
    ],
)
def test_a_specification_stands_for_keys_of_the_study(text: str, overrides: dict[str, object]) -> None:
    (spec,), problems = parse_strategy_specs([text])
    assert not problems
    name = text.partition(":")[0].partition("+")[0]
    assert spec.overrides == {"strategy.name": name, **overrides}


def test_a_specification_has_a_title_for_people() -> None:
    (spec,), _ = parse_strategy_specs(["fedadam:beta1=0.8:tau=1e+3+int8"])
    assert spec.title == "fedadam beta1=0.8 tau=1e+3 + int8"


def test_all_problems_are_reported_at_once_with_the_valid_names(plan: Planner) -> None:
    texts = ["fedavgg", "fedprox:mux=1", "fedprox:mu", "fedavg+int9", "fedavg+clip-norm", "fedavg+int8=3", "local+int8"]
    texts += ["fedavg+int8+bf16", "scaffold", "krum+top-k", "fedavg", "fedavg"]
    with pytest.raises(ConfigError) as raised:
        plan(*texts)
    problems = {problem.key: str(problem) for problem in raised.value.problems}
    assert set(problems) == set(texts)
    assert "Did you mean 'fedavg'?" in problems["fedavgg"]
    assert "Valid keys here: mu" in problems["fedprox:mux=1"]
    assert "Did you mean 'int8'?" in problems["fedavg+int9"]
    assert "needs a number" in problems["fedavg+clip-norm"]
    assert "sgd" in problems["scaffold"]
    assert "cannot be combined with" in problems["krum+top-k"]
    assert "named twice" in problems["fedavg"]


def test_no_strategy_at_all_is_an_error(plan: Planner) -> None:
    with pytest.raises(ConfigError, match="no strategy is named"):
        plan()


def test_seeds_come_one_after_the_other_so_that_an_early_end_leaves_a_fair_leaderboard(plan: Planner) -> None:
    sweep = plan("fedavg", "local", seeds=[5, 6])
    assert [(p.spec.name, p.seed) for p in sweep.runs] == [("fedavg", 5), ("local", 5), ("fedavg", 6), ("local", 6)]
    assert [p.simulation.study.seed for p in sweep.runs] == [5, 5, 6, 6]
    assert [p.simulation.study.arms for p in sweep.runs[:2]] == [("federated",), ("local",)]
    assert plan("fedavg").seeds == (3,)  # the study's own


def test_seeds_of_one_split_seed_train_and_test_with_the_same_patients(plan: Planner) -> None:
    def read_splits(sweep: Sweep) -> list[list[str]]:
        prepared = [prepare(run.simulation.sites[0], run.simulation.study) for run in sweep.runs]
        return [[f"{case.name} {case.split}" for case in one.cases] for one in prepared]

    first, second, third = read_splits(plan("fedavg", seeds=[5, 6, 7], overrides={"split-seed": 5}))
    assert first == second == third
    assert [first] == read_splits(plan("fedavg", seeds=[5]))  # the seed itself, where no other is given
    assert first not in read_splits(plan("fedavg", seeds=[6, 7]))


def test_seeds_that_divide_patients_anew_are_told(plan: Planner) -> None:
    assert "--set split-seed=3" in plan("fedavg", seeds=[5, 6]).advice_on_splits
    assert not plan("fedavg", seeds=[5, 6], overrides={"split-seed": 0}).advice_on_splits
    assert not plan("fedavg").advice_on_splits


def test_nothing_but_the_strategy_and_the_rounds_differs(plan: Planner) -> None:
    fedavg, ditto = (p.simulation.study for p in plan("fedavg", "ditto").runs)
    both = [s.model_dump(exclude={"strategy", "rounds", "simulation", "server"}) for s in (fedavg, ditto)]
    assert both[0] == both[1]
    assert (fedavg.rounds, ditto.rounds) == (8, 4)  # ditto takes twice the steps in a round


def test_an_algorithm_with_more_steps_in_a_round_gets_fewer_rounds() -> None:
    specs, _ = parse_strategy_specs(["fedavg", "ditto", "apfl", "somebodys-own"])
    assert [matched_rounds(spec, 7, sites=4) for spec in specs] == [7, 4, 4, 7]
    assert matched_rounds(specs[1], 1, sites=4) == 1


def test_no_strategy_stops_early_unless_that_is_asked_for(plan: Planner) -> None:
    assert plan("fedavg").runs[0].simulation.study.strategy.patience == 0
    sweep = plan("fedavg", overrides={"strategy.patience": 4})
    assert sweep.runs[0].simulation.study.strategy.patience == 4


def test_options_of_the_study_stay_with_its_own_strategy(plan: Planner) -> None:
    sweep = plan("fedprox", "fedavg", "local", overrides={"strategy.name": "fedprox", "strategy.options.mu": 0.5})
    assert [dict(p.simulation.study.strategy.options) for p in sweep.runs] == [{"mu": 0.5}, {}, {"mu": 0.5}]


def test_a_plan_writes_nothing(plan: Planner, tmp_path: Path) -> None:
    plan("fedavg")
    assert not (tmp_path / "sweeps").exists()


@pytest.mark.usefixtures("faked")
def test_a_strategy_that_fails_does_not_stop_the_others(plan: Planner) -> None:
    results = list(run_sweep(plan("krum", "rfa", "fedavg")))
    assert [result.status for result in results] == ["failed", "failed", "completed"]
    assert results[0].reason == "[ENGINE-LOST] the workers are gone."
    assert results[1].reason.startswith("ZeroDivisionError")
    assert read_history(results[2].run)[-1]["status"] == "completed"
    assert results[2].run.is_relative_to(results[2].planned.simulation.run.parents[3])


def test_a_completed_run_is_not_run_again(plan: Planner, faked: list[str]) -> None:
    sweep = plan("fedavg", "krum", "moon", "fedprox")
    with pytest.raises(KeyboardInterrupt):
        list(run_sweep(sweep))
    again = plan("fedavg", "krum", "fedprox", "fedprox:mu=0.5", resume=sweep.folder)
    assert again.folder == sweep.folder
    faked.clear()
    results = list(run_sweep(again))
    assert faked == ["krum", "fedprox", "fedprox"]
    assert [result.status for result in results] == ["completed", "failed", "completed", "completed"]
    assert results[0].run == sweep.runs[0].simulation.run


@pytest.mark.usefixtures("faked")
def test_a_sweep_that_broke_off_goes_on_in_the_run_that_broke_off(plan: Planner) -> None:
    sweep = plan("fedavg", "moon", "local", seeds=[4, 5], overrides={"rounds": 6})
    with pytest.raises(KeyboardInterrupt):
        list(run_sweep(sweep))
    again = plan_sweep_resumption(sweep.folder)
    assert (again.folder, again.specs, again.seeds) == (sweep.folder, sweep.specs, sweep.seeds)
    assert [planned.simulation.study for planned in again.runs] == [planned.simulation.study for planned in sweep.runs]
    assert [planned.finished is not None for planned in again.runs] == [True, *[False] * 5]
    assert again.runs[1].simulation.run == sweep.runs[1].simulation.run
    assert [planned.simulation.app.server.resume for planned in again.runs] == [False, True, *[False] * 4]


@pytest.mark.usefixtures("faked")
def test_another_budget_or_seed_is_another_run(plan: Planner) -> None:
    sweep = plan("fedavg", "local")
    list(run_sweep(sweep))
    assert all(p.finished for p in plan("fedavg", "local", resume=sweep.folder).runs)
    assert not any(p.finished for p in plan("fedavg", resume=sweep.folder, seeds=[9]).runs)
    assert not any(p.finished for p in plan("fedavg", resume=sweep.folder, overrides={"rounds": 9}).runs)


def test_a_run_on_other_data_is_run_anew_so_that_a_leaderboard_is_of_one_data_set(
    plan: Planner, nodule_hospitals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(self: SimulatedRun, engine: str = "embedded", workers: int = 0) -> None:
        run = Run.create(self.run.parents[1], dataclasses.replace(self.app, simulated_sites=tuple(s.name for s in self.sites)))
        joined = [
            {"event": "joined", "site": site.name, "simulated": {"data": prepare(site, self.study).digest}}
            for site in self.sites
        ]
        done: list[Event] = [{"event": "round", "bytes-up": 1}, {"event": "end", "status": "completed"}]
        for event in (run.start_event(), *joined, *done):
            run.history.append(event)

    monkeypatch.setattr(SimulatedRun, "start", start)
    sweep = plan("fedavg", "local", seeds=[4])
    list(run_sweep(sweep))
    assert all(planned.finished for planned in plan("fedavg", "local", seeds=[4], resume=sweep.folder).runs)
    index = min(nodule_hospitals.glob("*/data/index.csv"))
    rows = index.read_text().splitlines()
    index.write_text("\n".join(rows[:-1]) + "\n")
    again = plan("fedavg", "local", seeds=[4], resume=sweep.folder)
    assert [(planned.finished, planned.has_other_data) for planned in again.runs] == [(None, True)] * 2
    index.write_text("\n".join(rows) + "\n")
    assert all(planned.finished for planned in plan("fedavg", "local", seeds=[4], resume=sweep.folder).runs)
    shutil.copytree(nodule_hospitals / "hospital-1", nodule_hospitals / "hospital-4")
    more = nodule_hospitals / "hospital-4" / "site.toml"
    more.write_text(more.read_text().replace("hospital-1", "hospital-4"))
    assert not any(planned.finished for planned in plan("fedavg", seeds=[4], resume=sweep.folder).runs)


def test_a_folder_that_is_not_a_sweep_cannot_be_resumed(plan: Planner, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="SWEEP-MISSING"):
        plan("fedavg", resume=tmp_path)
    with pytest.raises(RunError, match="SWEEP-MISSING"):
        plan_sweep_resumption(tmp_path)
