"""Command `medfl demo`: a whole study in a few minutes, on images that belong to no patient."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer

from medfl.cli.options import WorkersOption
from medfl.cli.progress import show_progress
from medfl.cli.run_outcome import print_outcome, show_simulation

STUDY = "brain-tissue"


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the synthetic hospitals and the run.")] = Path("medfl-demo"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the synthetic hospitals and of the study.")] = 0,
    workers: WorkersOption = 0,
) -> None:
    """Make three synthetic hospitals, train together and each alone, and write the report that compares them."""
    from medfl.data.synthetic.hospitals import make_brain_hospitals
    from medfl.simulation.worker_pool import warm_up

    warm_up()
    from medfl import api

    with show_progress("Making three hospitals from a brain template") as advance:
        data = make_brain_hospitals(out / "hospitals", seed=seed, progress=advance)
    with as_file(files("medfl") / "sample_configs" / STUDY) as folder:
        opened = api.open_study(folder, {"simulation.store": str((out / "store").resolve())})
        simulation = api.plan_simulation(opened, data, out / "runs", seed=seed)
        print_outcome(show_simulation(simulation, "embedded", workers))
