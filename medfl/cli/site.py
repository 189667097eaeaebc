"""`medfl site`: a hospital's own terms."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medfl.cli.console import output

app = typer.Typer(help="A hospital's own terms.", no_args_is_help=True)


@app.callback()
def _family() -> None:
    """Make `init` a command of its own rather than the only one."""


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="Name of the site, as the federation will know it.")],
    folder: Annotated[Path, typer.Option(help="Where to write site.toml and the site's secret.")] = Path(),
    data: Annotated[str, typer.Option(help="Folder of the images, relative to site.toml.")] = ".",
) -> None:
    """Write a site.toml to edit, and the secret that this site's pseudonyms are keyed with."""
    from medfl.site import init_site

    path = init_site(folder, name, data)
    output.print(f"Wrote {path} and the secret beside it. The secret never leaves this machine; keep a copy in a safe place.")
