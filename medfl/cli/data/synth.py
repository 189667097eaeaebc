"""`medfl data synth`: hospitals that belong to no patient."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from medfl.cli.console import output
from medfl.cli.progress import show_progress


class Kind(StrEnum):
    """Kinds of data that can be made."""

    BRAIN = "brain"
    NODULE = "nodule"


def synth(
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    kind: Annotated[
        Kind, typer.Option(help="brain: 3-D MR with tissue masks (needs flwr-medfl\\[demo]); nodule: 2-D images with classes.")
    ] = Kind.BRAIN,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
) -> None:
    """Make hospitals with images that belong to no patient."""
    from medfl.data.synthetic import hospitals

    with show_progress(f"Making {kind.value} hospitals") as advance:
        if kind is Kind.BRAIN:
            hospitals.make_brain_hospitals(out, seed=seed, progress=advance)
        else:
            hospitals.make_nodule_images(out, seed=seed)
    output.print(f"Hospitals are in {out}. Read the NOTICE there before you pass the images on.")
