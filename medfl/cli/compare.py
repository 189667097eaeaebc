"""Command `medfl compare`: several ways to a model, on the same patients."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medfl.cli.console import errors, output, print_json
from medfl.cli.options import DataOption, JsonOption, SetOption, WorkersOption, parse_overrides
from medfl.cli.sweep import parse_seeds
from medfl.system.text import join_words

if TYPE_CHECKING:
    from medfl.data.patient_groups import Groups
    from medfl.evaluation.arm_differences import ArmDifference
    from medfl.evaluation.strategy_comparison import ArmSummary
    from medfl.simulation.sweep_runner import RunResult, Sweep

PATIENTS_FILE, COMPARISON_FILE = "patients.csv", "comparison.json"  # in the folder of a comparison


def compare(
    folder: Annotated[Path, typer.Argument(help="Folder of the study, or its pyproject.toml.")],
    data: DataOption = None,
    strategies: Annotated[str, typer.Option(help="Federated strategies, with commas between; the study's unless given.")] = "",
    arms: Annotated[
        str, typer.Option(help="Arms, with commas between; all unless given: federated,local,pooled,ensemble,fine-tuned.")
    ] = "",
    seeds: Annotated[str, typer.Option(help="Seeds with commas between; the study's own unless given.")] = "",
    change: SetOption = None,
    vary: Annotated[str, typer.Option(help="KEY=a,b,c: compare for each value of a key; ';' where a value has commas.")] = "",
    out: Annotated[Path, typer.Option("--out", help="Folder under which the comparison's folder is made.")] = Path("sweeps"),
    resume: Annotated[Path | None, typer.Option(help="Folder of a comparison to go on with.")] = None,
    workers: WorkersOption = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and list the runs; start none.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare training together with training alone, in one place, and other ways, on the same patients."""
    from medfl.api.study_foretelling import require_trainable
    from medfl.cli.sweep_outcome import print_plan
    from medfl.cli.varied_comparison import parse_varied, print_varied_plan, run_varied
    from medfl.errors import ConfigError, Problem
    from medfl.runs.run_folder import new_run_name
    from medfl.simulation.sweep_runner import plan_sweep
    from medfl.simulation.varied_sweep import check_varied_folder, plan_varied_sweep
    from medfl.study import read_study
    from medfl.study.arms import ARMS

    overrides = parse_overrides(change)
    varied = parse_varied(vary) if vary else None
    study = read_study(folder, {**overrides, varied[0]: varied[1][0]} if varied else overrides)
    if study.split_seed is None:
        overrides["split-seed"] = study.seed  # patients stay where they are, whatever the seed
    chosen = parse_arms(arms)
    if study.evaluation.margin > 0 and "pooled" not in chosen:
        errors.print("evaluation.margin tells nothing here: it is held against the arm 'pooled', which --arms leaves out.")
    names = [word.strip() for word in strategies.split(",") if word.strip()] or [study.strategy.name]
    if no_strategies := sorted(set(ARMS).intersection(names)):
        fix = "Name federated strategies alone, and arms with --arms."
        raise ConfigError([Problem("--strategies", join_words(no_strategies), "is an arm, and no strategy.", fix)])
    if varied:
        if resume:
            check_varied_folder(resume, varied[0])
        top = resume.resolve() if resume else out.resolve() / study.name / new_run_name()
        plans = plan_varied_sweep(folder, data or [], top, names, parse_seeds(seeds), overrides, chosen, varied)
        for sweep in plans.sweeps:
            require_trainable(sweep.study)
        if dry_run:
            print_varied_plan(plans, as_json=as_json)
        else:
            run_varied(plans, workers, as_json=as_json)
        return
    plan = plan_sweep(folder, data or [], out, names, parse_seeds(seeds), overrides, resume, chosen)
    require_trainable(plan.study)
    if dry_run:
        _read_groups(plan)
        print_plan(plan, workers, as_json=as_json)
        return
    run_comparison(plan, workers, as_json=as_json)


def parse_arms(text: str) -> list[str]:
    """Read the arms of a comparison with commas between, all where none is named; put them into their usual order.

    Raises
    ------
    ConfigError
        When there is no such arm, the federated one is missing, or one that another begins with.
    """
    from medfl.errors import ConfigError, Problem
    from medfl.study.arms import ARMS, missing_arms

    named = {word.strip() for word in text.split(",") if word.strip()} or set(ARMS)
    problems = [
        Problem("--arms", arm, "there is no such arm.", f"Arms: {', '.join(ARMS)}.") for arm in sorted(named - set(ARMS))
    ]
    problems += [
        Problem("--arms", arm, f"begins with the models of {needed!r}.", "Name both.") for arm, needed in missing_arms(named)
    ]
    if not problems and "federated" not in named:
        problems = [Problem("--arms", text, "lacks 'federated', with which the others are compared.", "Name it too.")]
    if problems:
        raise ConfigError(problems)
    return [arm for arm in ARMS if arm in named]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What a comparison showed: arms, differences, all of it as JSON values, the scores of each patient, and the page.

    `external` are arms and differences on the patients of external hospitals.
    """

    summaries: tuple[ArmSummary, ...]
    differences: tuple[ArmDifference, ...]
    record: dict[str, Any]
    rows: list[dict[str, Any]]
    page: Path | None = None
    external: tuple[tuple[ArmSummary, ...], tuple[ArmDifference, ...]] = ((), ())


def run_comparison(plan: Sweep, workers: int = 0, *, as_json: bool = False) -> None:
    """Run what is left of a comparison, write its files, and print the table."""
    from medfl.cli.comparison_text import print_comparison

    found = make_comparison(plan, workers, quiet=as_json)
    if as_json:
        print_json({"folder": str(plan.folder), **found.record})
    else:
        print_comparison(found.summaries, found.differences, plan.study.task.kind)
        if hospitals := plan.study.evaluation.external:
            output.print(f"External, in no training and no choice of a model: {join_words(hospitals)}.")
            print_comparison(*found.external, plan.study.task.kind)
        for reason in [*found.record["failed"], *found.record["left_out"]]:
            output.print(reason, style="red")
        output.print(f"Scores of each patient: {plan.folder / PATIENTS_FILE}", soft_wrap=True)
        if found.page:
            output.print(f"Page: {found.page}", soft_wrap=True)
    if not found.summaries:
        raise typer.Exit(1)


def make_comparison(plan: Sweep, workers: int, *, quiet: bool) -> Comparison:
    """Run what is left of a comparison, and write its files."""
    from medfl.cli.sweep_outcome import run_all
    from medfl.evaluation.arm_runs import read_arm_runs
    from medfl.evaluation.complete_runs import keep_complete
    from medfl.evaluation.strategy_comparison import at_external_hospitals, summarize
    from medfl.report.comparison_page import write_comparison_page
    from medfl.system.files import write_file

    groups = _read_groups(plan)  # before hours of training
    results = run_all(plan, workers, quiet=quiet)
    read = list(read_arm_runs(results, plan.study))
    runs, left_out = keep_complete([run for run, _ in read])
    outside, left_out_outside = keep_complete(at_external_hospitals([run for run, _ in read]))
    margin = plan.study.evaluation.margin
    (summaries, differences), external = summarize(runs, margin, groups), summarize(outside, margin)
    failed = [f"{each.planned.spec.title}, seed {each.planned.seed}: {each.reason}" for each in results if each.reason]
    record = {"study": plan.study.name, "seeds": plan.seeds, **_comparison_as_json(summaries, differences), "failed": failed}
    record["left_out"] = [*left_out, *(f"At external hospitals: {sentence}" for sentence in left_out_outside)]
    record["runs"] = [_run_as_json(each, plan.folder) for each in results if not each.reason]
    if hospitals := plan.study.evaluation.external:
        record["external"] = {"hospitals": hospitals, **_comparison_as_json(*external)}
    rows = [row for _, rows in read for row in rows]
    write_file(plan.folder / PATIENTS_FILE, format_rows(rows).encode(), private=True)
    write_file(plan.folder / COMPARISON_FILE, json.dumps(record, indent=1).encode(), private=True)
    page = write_comparison_page(plan.folder) if summaries else None
    return Comparison(summaries, differences, record, rows, page, external)


def _read_groups(plan: Sweep) -> Groups:
    from medfl.data.patient_groups import read_patient_groups

    first = plan.runs[0].simulation
    return read_patient_groups(first.sites, first.app.simulation.subgroups)


def _comparison_as_json(summaries: Sequence[ArmSummary], differences: Sequence[ArmDifference]) -> dict[str, Any]:
    return {
        "arms": [_as_json(each) for each in summaries],
        "differences": [_as_json(each) for each in differences],
    }


def _as_json(each: ArmSummary | ArmDifference) -> dict[str, Any]:
    from medfl.runs.history import to_json_value

    values: dict[str, Any] = to_json_value(dataclasses.asdict(each))
    return values


def _run_as_json(result: RunResult, folder: Path) -> dict[str, Any]:
    spec = result.planned.spec
    strategy = "" if spec.name == "local" else spec.text
    return {"strategy": strategy, "seed": result.planned.seed, "path": str(result.run.relative_to(folder))}


def format_rows(rows: list[dict[str, Any]], *columns: str) -> str:
    """Return the scores of each patient as CSV, with further columns before those of every comparison."""
    file = io.StringIO()
    columns = (*columns, "arm", "strategy", "seed", "model", "hospital", "external", "patient", "class", "truth", "value")
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
