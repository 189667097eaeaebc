"""Command `medfl simulate`: a study on this machine."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from medfl.cli.options import DataOption, JsonOption, OutOption, SetOption, WorkersOption, parse_overrides
from medfl.cli.run_outcome import print_outcome, show_simulation


class EngineName(StrEnum):
    """Engines that can be named on the command line."""

    EMBEDDED = "embedded"
    RAY = "ray"


EngineOption = Annotated[EngineName, typer.Option(help="embedded, or ray for Flower's own runtime.")]


def simulate(
    folder: Annotated[Path, typer.Argument(help="Folder of the study, or its pyproject.toml.")],
    data: DataOption = None,
    out: OutOption = Path("runs"),
    arms: Annotated[str, typer.Option(help="What to compare: federated,local,pooled,ensemble,fine-tuned.")] = "",
    engine: EngineOption = EngineName.EMBEDDED,
    workers: WorkersOption = 0,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed to use instead of the study's.")] = None,
    change: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a study with simulated hospitals on this machine, and write its report."""
    from medfl.simulation.worker_pool import warm_up

    if engine is EngineName.EMBEDDED:
        warm_up()  # before the imports of everything else
    from medfl import api

    opened = api.open_study(folder, parse_overrides(change))
    simulation = api.plan_simulation(opened, data or [], out, arms=arms, seed=seed)
    print_outcome(show_simulation(simulation, engine.value, workers, quiet=as_json), as_json=as_json)


def resume_simulation(run: Path, engine: EngineName, workers: int = 0, *, as_json: bool = False) -> None:
    """Go on with a simulation after its last complete round, and write its report."""
    from medfl.simulation.worker_pool import warm_up

    if engine is EngineName.EMBEDDED:
        warm_up()
    from medfl import api

    simulation = api.plan_resumption(run)
    print_outcome(show_simulation(simulation, engine.value, workers, quiet=as_json), as_json=as_json)
