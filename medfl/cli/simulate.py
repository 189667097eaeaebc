"""Command `medfl simulate`: a study on this machine."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from medfl.cli.console import output
from medfl.cli.options import DataOption, JsonOption, OutOption, SetOption, WorkersOption, parse_overrides
from medfl.cli.run_outcome import run_and_report


class EngineName(StrEnum):
    """Engines that can be named on the command line."""

    EMBEDDED = "embedded"
    RAY = "ray"


def simulate(
    folder: Annotated[Path, typer.Argument(help="Folder of the study, or its pyproject.toml.")],
    data: DataOption = None,
    out: OutOption = Path("runs"),
    arms: Annotated[str, typer.Option(help="What to compare: federated, or federated,local.")] = "",
    engine: Annotated[EngineName, typer.Option(help="embedded, or ray for Flower's own runtime.")] = EngineName.EMBEDDED,
    workers: WorkersOption = 0,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed to use instead of the study's.")] = None,
    change: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a study with simulated hospitals on this machine, and write its report."""
    from medfl.simulation.simulated_run import plan_simulation
    from medfl.simulation.worker_pool import warm_up

    if engine is EngineName.EMBEDDED:
        warm_up()
    overrides = parse_overrides(change)
    if arms:
        overrides["arms"] = arms
    if seed is not None:
        overrides["seed"] = seed
    simulation = plan_simulation(folder, data or [], out, overrides)
    outcome = run_and_report(simulation, engine.value, workers, quiet=as_json)
    if as_json:
        output.print_json(json.dumps(outcome.as_json()))
    else:
        outcome.print()
