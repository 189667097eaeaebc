"""Command line `medfl`: all commands, and how their errors end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from medfl import DISTRIBUTION, __version__
from medfl.cli import (
    audit,
    compare,
    data,
    demo,
    doctor,
    export,
    models,
    operate,
    predict,
    report,
    runs,
    server,
    simulate,
    site,
    study,
    sweep,
)
from medfl.cli.console import errors, spell_unencodable
from medfl.errors import ConfigError, MedflError
from medfl.system.files import translate_file_errors

EXIT_FAILED, EXIT_CONFIG, EXIT_STOPPED = 1, 2, 130

app = typer.Typer(
    name="medfl",
    help="Federated learning on hospitals' own medical images, with Flower and MONAI.",
    no_args_is_help=True,
    suggest_commands=False,  # click does so already
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done, 1 failed, 2 something in a file or on the command line is wrong, 130 stopped by Ctrl-C.",
)
app.command("demo")(demo.demo)
app.command("simulate")(simulate.simulate)
app.command("sweep")(sweep.sweep)
app.command("compare")(compare.compare)
for command in (operate.run, operate.resume, operate.status, operate.stop, operate.logs):
    app.command(command.__name__)(command)
app.command("runs")(runs.runs)
app.command("report")(report.report)
app.command("export")(export.export)
app.command("predict")(predict.predict)
app.add_typer(study.app, name="study")
app.add_typer(data.app, name="data")
app.add_typer(models.app, name="models")
app.add_typer(site.app, name="site")
app.add_typer(server.app, name="server")
app.add_typer(audit.app, name="audit")
app.command("doctor")(doctor.doctor)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"{DISTRIBUTION} {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    debug_local: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep what libraries report in a local file of mode 0600. It names patients."),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print what is installed."),
    ] = False,
) -> None:
    """Take the options that come before any command."""
    if debug_local is not None:
        from medfl.data import debug

        context.with_resource(debug.debug_local(debug_local))


def main() -> None:
    """Run the command line; every error of medfl, and of the disk, ends in one plain message and an exit code."""
    spell_unencodable()
    try:
        with translate_file_errors():
            app()
    except ConfigError as error:
        errors.print(str(error), style="red")
        sys.exit(EXIT_CONFIG)
    except MedflError as error:
        errors.print(str(error), style="red")
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        errors.print("Stopped.", style="yellow")
        sys.exit(EXIT_STOPPED)
