"""`medfl data`: a hospital's images on disk. One command a module."""

from __future__ import annotations

import typer

from medfl.cli.data.synth import synth

app = typer.Typer(help="Images on disk: find, check, prepare.", no_args_is_help=True)


@app.callback()
def _family() -> None:
    """Make every command a command of its own."""


app.command("synth")(synth)
