"""Commands `medfl models`: the library of start weights of this account."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from medfl.cli.console import output, print_json
from medfl.cli.options import JsonOption

app = typer.Typer(
    help="Keep models that studies begin with, each with its source, licence and SHA-256.",
    no_args_is_help=True,
    suggest_commands=False,
)


@app.command()
def add(
    file: Annotated[
        Path, typer.Argument(help="A .safetensors, .pt or .pth file, or the folder of a run, an export or a bundle.")
    ],
    name: Annotated[str, typer.Option(help="Name by which studies call it.")],
    source: Annotated[str, typer.Option(help="Where it comes from, such as its address.")],
    licence: Annotated[str, typer.Option(help="Its licence, such as Apache-2.0.")],
) -> None:
    """Copy a model into the library; it is opened first where a study begins with it."""
    from medfl.runs.model_library import add_model

    model = add_model(file, name, source, licence)
    output.print(f"Added {model.name}, SHA-256 {model.sha256}", soft_wrap=True)
    output.print(f"Begin a study with it: medfl study start STUDY {model.name}", soft_wrap=True)


@app.command("list")
def list_all(as_json: JsonOption = False) -> None:
    """List the models of the library."""
    from medfl.runs.model_library import list_models

    models = list_models()
    if as_json:
        print_json([{**dataclasses.asdict(model), "folder": str(model.folder)} for model in models])
        return
    table = Table("model", "licence", "source", "hash", "added")
    for model in models:
        table.add_row(*map(Text, (model.name, model.licence, model.source, model.sha256[:16], model.added[:10])))
    output.print(table if models else "The library has no model. Add one: medfl models add FILE --name NAME ...")
