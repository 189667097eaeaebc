"""`medfl data`: a hospital's images on disk. One command a module."""

from __future__ import annotations

import typer

from medfl.cli.data.check import JsonOptionCommand, check
from medfl.cli.data.fingerprint import fingerprint
from medfl.cli.data.index import index
from medfl.cli.data.prepare import prepare
from medfl.cli.data.pull import pull
from medfl.cli.data.purge import purge
from medfl.cli.data.synth import synth
from medfl.cli.data.whois import whois

app = typer.Typer(help="Images on disk: find, check, prepare.", no_args_is_help=True, suggest_commands=False)


@app.callback()
def _family() -> None:
    """Make every command a command of its own."""


app.command("check", cls=JsonOptionCommand)(check)
app.command("fingerprint")(fingerprint)
app.command("index")(index)
app.command("prepare")(prepare)
app.command("pull")(pull)
app.command("purge")(purge)
app.command("synth")(synth)
app.command("whois")(whois)
