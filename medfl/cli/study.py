"""Commands `medfl study`: make, check, plan and bundle a study before it runs, and look up its keys."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Annotated

import typer

from medfl.cli.console import output, print_json
from medfl.cli.new_study import new
from medfl.cli.options import DataOption, JsonOption, SetOption, parse_overrides
from medfl.cli.plan import plan
from medfl.cli.start_weights import start
from medfl.errors import ConfigError, Problem
from medfl.errors.validation import did_you_mean

app = typer.Typer(
    help="Make, check, plan and bundle a study before it runs, and look up its keys.",
    no_args_is_help=True,
    suggest_commands=False,
)
app.command("new")(new)
app.command("plan")(plan)
app.command("start")(start)


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
    foretold, begins = checked.foretell(), checked.describe_start()
    if as_json:
        print_json({**checked.as_json(), "foretold": foretold, "start": begins})
        return
    for sentence in (*checked.sentences, *begins):
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


@app.command()
def keys(
    table: Annotated[str | None, typer.Argument(help="Table whose keys are meant, such as training; all unless given.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the keys that a study may have: what each means, what it may be, and its default."""
    from medfl.cli.key_tables import print_keys
    from medfl.study.key_reference import list_keys, list_tables

    if table is not None and table not in list_tables():
        names = [name for name in list_tables() if name]
        fix = f"{did_you_mean(table, names)} Tables: {', '.join(names)}.".strip()
        raise ConfigError([Problem("medfl study keys", table, "a study has no such table.", fix)])
    found = list_keys(table)
    if as_json:
        print_json([{"key": key.full_name, **dataclasses.asdict(key)} for key in found])
        return
    print_keys(found)
