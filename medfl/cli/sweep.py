"""Command `medfl sweep`: several strategies on one study, and a leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medfl.cli.console import print_json
from medfl.cli.options import DataOption, JsonOption, SetOption, WorkersOption, parse_overrides
from medfl.cli.progress import show_progress

if TYPE_CHECKING:
    from medfl.simulation.sweep_runner import Sweep

_COMPARING = "Comparing the data with that of earlier runs"  # which takes as long as preparing it where it has changed


def sweep(
    folder: Annotated[Path, typer.Argument(help="Folder of the study, or its pyproject.toml.")],
    strategies: Annotated[
        str,
        typer.Option(
            help="Strategies to compare, with commas between: fedavg, fedprox:mu=0.1, fedavg+int8, fedavg+norm, local."
        ),
    ],
    data: DataOption = None,
    seeds: Annotated[str, typer.Option(help="Seeds of the study with commas between; its own unless given.")] = "",
    rounds: Annotated[int | None, typer.Option(min=1, help="The budget in rounds of FedAvg.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Local steps of each hospital in a round.")] = None,
    change: SetOption = None,
    out: Annotated[Path, typer.Option("--out", help="Folder under which the sweep's folder is made.")] = Path("sweeps"),
    resume: Annotated[
        Path | None, typer.Option(help="Folder of a sweep to go on with: its completed runs are not repeated.")
    ] = None,
    workers: WorkersOption = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and list the runs; start none.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run several strategies with equal seeds and a matched budget of local steps, and write a leaderboard."""
    from medfl.api.study_foretelling import require_trainable
    from medfl.cli.sweep_outcome import print_plan
    from medfl.simulation.sweep_runner import plan_sweep

    overrides = parse_overrides(change)
    if rounds is not None:
        overrides["rounds"] = rounds
    if steps is not None:
        overrides["training.local-steps"] = steps
    names = [word.strip() for word in strategies.split(",") if word.strip()]
    with show_progress(_COMPARING, quiet=as_json or resume is None):
        plan = plan_sweep(folder, data or [], out, names, parse_seeds(seeds), overrides, resume)
    require_trainable(plan.study)
    if dry_run:
        print_plan(plan, workers, as_json=as_json)
        return
    _run(plan, workers, as_json=as_json)


def resume_sweep(folder: Path, workers: int = 0, *, as_json: bool = False) -> None:
    """Go on with a sweep: with the run that broke off, then with those that are left."""
    from medfl.simulation.sweep_runner import plan_sweep_resumption

    with show_progress(_COMPARING, quiet=as_json):
        plan = plan_sweep_resumption(folder.resolve())
    if plan.arms:
        from medfl.cli.compare import run_comparison

        run_comparison(plan, workers, as_json=as_json)
        return
    _run(plan, workers, as_json=as_json)


def _run(plan: Sweep, workers: int, *, as_json: bool) -> None:
    from medfl.cli.sweep_outcome import print_leaderboard, run_and_rank
    from medfl.report.leaderboard_page import verdict_sentences

    leaderboard = run_and_rank(plan, workers, quiet=as_json)
    if as_json:
        print_json({"folder": str(leaderboard.folder), **leaderboard.as_json(), "verdict": verdict_sentences(leaderboard)})
    else:
        print_leaderboard(leaderboard)
    if not any(row.completed_runs for row in leaderboard.rows):
        raise typer.Exit(1)


def parse_seeds(text: str) -> list[int]:
    """Read seeds with commas between."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if invalid := [word for word in words if not word.isdecimal()]:
        raise typer.BadParameter(f"{', '.join(invalid)}: seeds are whole numbers with commas between", param_hint="--seeds")
    seeds = [int(word) for word in words]
    if len(set(seeds)) < len(seeds):
        raise typer.BadParameter(f"{text}: each seed once; the same seed gives the same run", param_hint="--seeds")
    return seeds
