"""Command `medfl export`: a model of a run as a MONAI bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from medfl.cli.console import output, print_json
from medfl.cli.options import JsonOption

if TYPE_CHECKING:
    from medfl.models.run_models import Which


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or the beginning of its name.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="New folder of the bundle; the study's name, here, unless given.")
    ] = None,
    arm: Annotated[str, typer.Option("--arm", help="Arm of the model: federated, local, pooled, fine-tuned.")] = "federated",
    site: Annotated[str | None, typer.Option("--site", help="Hospital whose own model is meant, of a simulation.")] = None,
    which: Annotated[
        str, typer.Option("--which", help="best: chosen on validation patients; final: of the last round.")
    ] = "best",
    licence: Annotated[
        str, typer.Option("--licence", help="Licence of the model that the hospitals agreed on, such as CC-BY-NC-4.0.")
    ] = "",
    onnx: Annotated[bool, typer.Option("--onnx", help="Write model.onnx as well; needs flwr-medfl\\[onnx].")] = False,
    as_json: JsonOption = False,
) -> None:
    """Export a model of a run as a MONAI bundle: for `python -m monai.bundle run`, plain PyTorch and `medfl predict`."""
    from medfl.api import export_run
    from medfl.runs.finding import find_named_run

    bundle = export_run(find_named_run(run), out, arm=arm, site=site, which=cast("Which", which), licence=licence, onnx=onnx)
    if as_json:
        print_json({"path": str(bundle.path), "left_out": list(bundle.left_out)})
        return
    output.print(f"Bundle: {bundle.path}", soft_wrap=True)
    for sentence in bundle.left_out:
        output.print(sentence)
    output.print("README.md in it says how to use it; MODEL_CARD.md what it rests on. Read both before you pass it on.")
