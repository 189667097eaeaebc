"""Commands `medfl study`: check, plan and bundle a study before it runs."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from medfl.cli.console import output
from medfl.cli.options import DataOption, JsonOption, SetOption, parse_overrides
from medfl.cli.plan import plan

app = typer.Typer(help="Check, plan and bundle a study before it runs.", no_args_is_help=True)
app.command("plan")(plan)


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="Folder of the study, or its pyproject.toml.")],
    data: DataOption = None,
    change: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Validate a study, and print the `flwr run` command for it."""
    from medfl.study import read_app, study_folder
    from medfl.study.algorithms import ALGORITHMS

    overrides = parse_overrides(change)
    if data:
        overrides["simulation.data"] = ",".join(str(path.resolve()) for path in data)
    app = read_app(folder, overrides)
    study = app.study
    if study.strategy.name not in ALGORITHMS:
        from medfl.strategies.strategy_registry import build_strategy

        build_strategy(study, app.quorum)  # only the package that offers it knows its options
    if as_json:
        output.print_json(json.dumps({"hash": study.approved_hash(), "study": study.model_dump(mode="json", by_alias=True)}))
        return
    output.print(f"[bold]{study.name}[/]: {study.task.kind}, {study.task.dimension}-D, {', '.join(study.task.classes)}")
    output.print(f"{study.rounds} rounds of {study.strategy.name} with {study.network.name}, seed {study.seed}")
    output.print(f"hash {study.approved_hash()}")
    if data:
        from medfl.data.simulated_sites import read_simulated_sites

        sites = read_simulated_sites(app.simulation)
        output.print(f"{len(sites)} sites: {', '.join(site.name for site in sites)}")
        changes = " ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in overrides.items())
        federation = f"num-supernodes={len(sites)} client-resources-num-cpus={study.training.threads}"
        app_folder = str(study_folder(folder))
        command = ["flwr", "run", app_folder, "local", "--stream", "--run-config", changes, "--federation-config", federation]
        output.print("The same with Flower's own command:")
        output.print(shlex.join(command), soft_wrap=True, highlight=False, markup=False)
    output.print("[green]The study is valid.[/]")


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
