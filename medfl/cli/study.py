"""Commands `medfl study`: check, plan and bundle a study before it runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from medfl.cli.console import output, print_json
from medfl.cli.options import DataOption, JsonOption, SetOption, parse_overrides
from medfl.cli.plan import plan

app = typer.Typer(help="Check, plan and bundle a study before it runs.", no_args_is_help=True, suggest_commands=False)
app.command("plan")(plan)


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="Folder of the study, or its pyproject.toml.")],
    data: DataOption = None,
    change: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Validate a study, say what the policies of simulated hospitals would refuse or hide, and print its `flwr run` command."""
    from medfl import api

    checked = api.open_study(folder, parse_overrides(change)).check(data or [])
    foretold = checked.foretell()
    if as_json:
        print_json({**checked.as_json(), "foretold": foretold})
        return
    for sentence in checked.sentences:
        output.print(sentence)
    for sentence in foretold:
        output.print(sentence, style="yellow")
    if command := checked.flower_command:
        output.print("The same with Flower's own command:")
        output.print(shlex.join(command), soft_wrap=True)
    output.print("The study is valid.", style="green")


@app.command()
def bundle(
    folder: Annotated[Path, typer.Argument(help="Folder of the study, or its pyproject.toml.")],
    out: Annotated[Path, typer.Option(help="Folder to write NAME.fab to.")] = Path(),
    change: SetOption = None,
) -> None:
    """Make the bundle of a study, which hospitals read and approve; values given with --set become part of it."""
    from medfl.deploy.bundle import build_bundle

    path, study = build_bundle(folder, parse_overrides(change), out)
    output.print(f"Wrote {path}, hash {study.approved_hash()[:16]}. Each hospital approves it: medfl site approve {path.name}")
