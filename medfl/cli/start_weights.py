"""Command `medfl study start`: begin a study with the weights of another model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text

from medfl.cli.console import output


def start(
    folder: Annotated[Path, typer.Argument(help="Folder of the study, or its pyproject.toml.")],
    model: Annotated[str, typer.Argument(help="A file in that folder, or a name of 'medfl models list'.")],
    name: Annotated[str, typer.Option(help="Name of the model, for those who approve the study.")] = "",
    source: Annotated[str, typer.Option(help="Where it comes from.")] = "",
    licence: Annotated[str, typer.Option(help="Its licence.")] = "",
    channels: Annotated[
        Literal["refuse", "mean", "repeat", "zero"] | None, typer.Option(help="Where it takes other image channels.")
    ] = None,
    head: Annotated[Literal["refuse", "new"] | None, typer.Option(help="Where it has other classes.")] = None,
    missing: Annotated[Literal["refuse", "new"] | None, typer.Option(help="Where it lacks other layers.")] = None,
    patients: Annotated[
        Literal["refuse", "move"] | None, typer.Option(help="Where a hospital would test whom the model was trained on.")
    ] = None,
    table: Annotated[bool, typer.Option("--table", help="Print what became of every tensor.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say whether it fits.")] = False,
) -> None:
    """Hold a model's weights against a study, and write them into its table 'start' with both digests."""
    from medfl.api.start_weights import fit_start, write_start

    keys = {"name": name, "source": source, "licence": licence}
    keys |= {"channels": channels or "", "head": head or "", "missing": missing or "", "patients": patients or ""}
    fitted = fit_start(folder, model, keys)
    if table:
        rows = Table("tensor", "shape", "is", "in the file")
        for row in fitted.mapped.table:
            rows.add_row(Text(row.name), " x ".join(map(str, row.shape)), row.how, Text(row.source))
        for left in fitted.mapped.left_out:
            rows.add_row("", "", "left out", Text(left))
        output.print(rows)
    for sentence in fitted.mapped.sentences():
        output.print(sentence)
    output.print(f"SHA-256 of the file    {fitted.keys['sha256']}", soft_wrap=True)
    output.print(f"digest of the first model {fitted.keys['arrays']}", soft_wrap=True)
    for sentence in fitted.travel():
        output.print(sentence, soft_wrap=True)
    if dry_run:
        output.print("Nothing was written: this was a dry run.")
        return
    write_start(folder, fitted)
    output.print("The study begins with these weights from now on. Its hash is another one: hospitals approve it anew.")
