"""`medfl compare --vary`: the comparison for each value of a key, planned, resumed, and shown in one table and one chart."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from medfl.cli import compare as compare_module
from medfl.cli import varied_comparison
from medfl.cli.app import app
from medfl.cli.compare import Comparison
from medfl.cli.varied_comparison import parse_varied, run_varied
from medfl.errors import ConfigError, RunError
from medfl.evaluation.arm_runs import ArmRun
from medfl.evaluation.bootstrap import SegmentedPatients
from medfl.evaluation.strategy_comparison import summarize
from medfl.simulation import varied_sweep
from medfl.simulation.sweep_runner import Sweep
from medfl.simulation.varied_sweep import VariedSweep, plan_varied_resumption, plan_varied_sweep


@pytest.fixture
def plans(nodule_study: Path, nodule_hospitals: Path, tmp_path: Path) -> VariedSweep:
    varied = ("training.batch-size", [1, 2])
    return plan_varied_sweep(
        nodule_study, [nodule_hospitals], tmp_path / "all", ["fedavg"], [1], {}, ["federated", "local"], varied
    )


def fake_comparison(sweep: Sweep, gap: float, other: str = "local") -> Comparison:
    dice = np.linspace(0.5, 0.9, 40)
    patients = tuple(("a", f"pat-{k}") for k in range(40))
    scores = {"federated": dice + gap + 0.01 * np.sin(np.arange(40)), other: dice}
    runs = [ArmRun(arm, "", 1, 5, 10, 0, SegmentedPatients(patients, values[:, None])) for arm, values in scores.items()]
    rows = [{"arm": "federated", "hospital": "a", "patient": "pat-1", "value": sweep.study.training.batch_size}]
    return Comparison(*summarize(runs), {"study": sweep.study.name, "arms": [], "failed": [], "left_out": []}, rows)


@pytest.mark.parametrize(
    ("text", "key", "values"),
    [
        ("simulation.alpha=0.1, 1,100", "simulation.alpha", [0.1, 1, 100]),
        ("simulation.positives=0.5,0.5; 0.1,0.9", "simulation.positives", ["0.5,0.5", "0.1,0.9"]),
        ("simulation.partition=random,label-skew", "simulation.partition", ["random", "label-skew"]),
        ("simulation.shares=0.9,0.1;", "simulation.shares", ["0.9,0.1"]),
    ],
)
def test_values_are_between_commas_or_semicolons(text: str, key: str, values: list[Any]) -> None:
    assert parse_varied(text) == (key, values)


@pytest.mark.parametrize("text", ["simulation.alpha", "simulation.alpha=", "simulation.alpha= ; "])
def test_a_key_without_values_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="not of the form key=a,b,c"):
        parse_varied(text)


@pytest.mark.parametrize(
    ("key", "values", "message"),
    [
        ("rounds", [3], "two or more values"),
        ("rounds", [3, 3], "all of them different"),
        ("seed", [1, 2], "'seed' is not what a comparison is made for"),
        ("server.out", ["a", "b"], "vary a key of the study"),
        ("simulation.alhpa", [1, 2], "Did you mean"),
    ],
)
def test_what_cannot_be_varied_is_refused(
    key: str, values: list[Any], message: str, nodule_study: Path, nodule_hospitals: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_varied_sweep(nodule_study, [nodule_hospitals], tmp_path, ["fedavg"], [], {}, ["federated"], (key, values))


def test_each_value_has_a_sweep_of_its_own_and_a_resumption_has_the_same(plans: VariedSweep) -> None:
    assert [sweep.study.training.batch_size for sweep in plans.sweeps] == [1, 2]
    assert [sweep.folder.relative_to(plans.folder) for sweep in plans.sweeps] == [Path("batch-size-1"), Path("batch-size-2")]
    assert not plans.folder.exists()  # planning writes nothing
    plans.make_folder()
    again = plan_varied_resumption(plans.folder)
    assert (again.key, again.values) == (plans.key, plans.values)
    assert [sweep.study for sweep in again.sweeps] == [sweep.study for sweep in plans.sweeps]
    assert [sweep.folder for sweep in again.sweeps] == [sweep.folder for sweep in plans.sweeps]


def test_a_dry_run_lists_the_runs_of_all_values(nodule_study: Path, nodule_hospitals: Path, tmp_path: Path) -> None:
    command = [
        "compare",
        str(nodule_study),
        "--data",
        str(nodule_hospitals),
        "--out",
        str(tmp_path / "out"),
        "--dry-run",
        "--arms",
        "federated,local",
    ]
    done = CliRunner().invoke(app, [*command, "--arms", "federated,local", "--vary", "rounds=1,2", "--json"])
    assert done.exit_code == 0, done.output
    runs = json.loads(done.stdout)["runs"]
    assert [(run["strategy"], run["rounds"]) for run in runs] == [
        ("fedavg", 1),
        ("local", 1),
        ("fedavg", 2),
        ("local", 2),
    ]
    assert not (tmp_path / "out").exists()


def test_all_values_are_in_one_table_one_chart_and_the_files(
    plans: VariedSweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gaps = {1: -0.05, 2: 0.1}
    monkeypatch.setattr(
        compare_module,
        "make_comparison",
        lambda plan, workers, quiet: fake_comparison(plan, gaps[plan.study.training.batch_size]),
    )
    run_varied(plans)
    printed = capsys.readouterr().out
    lower, higher = (line for line in printed.splitlines() if "●" in line)
    assert lower.index("●") < lower.index("│")
    assert higher.index("│") < higher.index("●")
    assert re.search(r"-0\.05.*lower$", lower.rstrip())
    assert re.search(r"\+0\.10.*higher$", higher.rstrip())
    assert [(plans.folder / name).stat().st_mode & 0o777 for name in ("comparison.json", "patients.csv")] == [0o600, 0o600]
    record = json.loads((plans.folder / "comparison.json").read_bytes())
    assert (record["vary"], record["values"]) == ("training.batch-size", [1, 2])
    assert [each["folder"] for each in record["comparisons"]] == ["batch-size-1", "batch-size-2"]
    with (plans.folder / "patients.csv").open() as file:
        assert [(row["training.batch-size"], row["value"]) for row in csv.DictReader(file)] == [("1", "1"), ("2", "2")]


@pytest.mark.parametrize(
    ("key", "values", "strategies", "base"),
    [
        ("strategy.name", ["fedavg", "fedprox"], ["fedavg"], {}),
        ("strategy.options.mu", [0.1, 1.0], ["fedprox:mu=0.5"], {"strategy.name": "fedprox"}),
        ("compression.codec", ["int8", "bf16"], ["fedavg+int8"], {}),
    ],
)
def test_values_that_the_named_strategy_overrides_are_refused(
    key: str,
    values: list[Any],
    strategies: list[str],
    base: dict[str, Any],
    nodule_study: Path,
    nodule_hospitals: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError, match="nothing that is run differs between the values"):
        plan_varied_sweep(
            nodule_study, [nodule_hospitals], tmp_path, strategies, [1], base, ["federated", "local"], (key, values)
        )


def test_values_that_differ_where_names_are_cut_have_folders_of_their_own(
    nodule_study: Path, nodule_hospitals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(varied_sweep, "_MAX_NAME", 20)  # characters: one less than these have
    varied = ("optimizer.learning-rate", [0.00101, 0.00102])
    plans = plan_varied_sweep(nodule_study, [nodule_hospitals], tmp_path, ["fedavg"], [1], {}, ["federated"], varied)
    names = [sweep.folder.name for sweep in plans.sweeps]
    assert len(set(names)) == 2
    assert max(map(len, names)) <= 20


def test_a_folder_that_is_none_of_a_varied_comparison_is_not_gone_on_with(
    plans: VariedSweep, nodule_study: Path, nodule_hospitals: Path, tmp_path: Path
) -> None:
    command = ["compare", str(nodule_study), "--data", str(nodule_hospitals), "--arms", "federated,local", "--dry-run"]
    typo = CliRunner().invoke(app, [*command, "--vary", "rounds=1,2", "--resume", str(tmp_path / "typo")])
    assert isinstance(typo.exception, RunError)
    assert typo.exception.code == "SWEEP-MISSING"
    assert not (tmp_path / "typo").exists()
    plans.make_folder()
    other = CliRunner().invoke(app, [*command, "--vary", "rounds=1,2", "--resume", str(plans.folder)])
    assert "is not the folder of a comparison that varies 'rounds'" in str(other.exception)
    same = CliRunner().invoke(app, [*command, "--vary", "training.batch-size=1,2", "--resume", str(plans.folder)])
    assert same.exit_code == 0


@pytest.mark.parametrize("long", ["0.05,0.95", "0.05,0.95,0.1,0.9,0.05,0.95,0.1,0.9,0.05,0.95"])
def test_the_chart_fits_a_terminal(long: str, plans: VariedSweep, capsys: pytest.CaptureFixture[str]) -> None:
    wide = dataclasses.replace(plans, values=("0.5,0.5", long))
    varied_comparison._print(wide, [fake_comparison(sweep, gap) for sweep, gap in zip(plans.sweeps, (-0.05, 0.0), strict=True)])
    lines = capsys.readouterr().out.splitlines()
    start = next(k for k, line in enumerate(lines) if line == "federated minus local")
    end = next(k for k, line in enumerate(lines) if line.startswith("Hospitals, and so"))
    assert max(map(len, lines[start:end])) <= 80
    assert sum("●" in line for line in lines) == 2


def test_without_the_local_arm_there_is_no_chart(plans: VariedSweep, capsys: pytest.CaptureFixture[str]) -> None:
    varied_comparison._print(plans, [fake_comparison(sweep, 0.1, "pooled") for sweep in plans.sweeps])
    assert "minus local" not in capsys.readouterr().out
