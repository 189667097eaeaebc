"""Commands `medfl site`: a hospital's own terms, and its membership in a federation."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

from medfl.cli import approve, budget, kept_models, outbox
from medfl.cli.console import output
from medfl.cli.options import YesOption, confirm

app = typer.Typer(
    help="A hospital's own terms, and its membership in a federation.", no_args_is_help=True, suggest_commands=False
)

app.command("approve")(approve.approve)
app.command("approvals")(approve.approvals)
app.command("withdraw")(approve.withdraw)
app.command("budget")(budget.budget)
app.command("outbox")(outbox.outbox)
app.command("models")(kept_models.models)

SiteFolder = Annotated[Path, typer.Argument(help="Folder of the site.toml.")]


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="Name of the site, as the federation will know it.")],
    folder: Annotated[Path, typer.Option(help="Where to write site.toml, the site's secret and its key.")] = Path(),
    data: Annotated[
        str,
        typer.Option(help="Folder of the images, as seen from here or else from --folder; that of the site.toml unless given."),
    ] = "",
    new_key: Annotated[bool, typer.Option(help="Put the old key aside and make a new one, with a new request.")] = False,
) -> None:
    """Write a site.toml to edit, the secret for pseudonyms, a private key, and a request to be enrolled."""
    from medfl.deploy.site_setup import set_up_site

    created = set_up_site(folder, name, _find_data(data, folder) if data else ".", new_key=new_key)
    output.print(
        f"The site is in {created.site}, with its secret and its key beside it. They never leave this machine; keep copies."
    )
    output.print(f"To join a federation, send {created.request} to its operator, and read them this fingerprint by telephone:")
    output.print(f"  {created.fingerprint}", soft_wrap=True)


def _find_data(data: str, folder: Path) -> str:
    """Return the folder of the images as site.toml names it: relative to the site's folder if found from there, else in full.

    Raises
    ------
    click.BadParameter
        When it is neither here nor in the site's folder, or two of that name are.
    """
    here = Path(data).expanduser()
    there = folder / here
    if here.is_dir() and there.is_dir() and not here.samefile(there):
        problem = f"there is a folder {data} both here and in {folder}: give the one that is meant in full."
    elif here.is_dir():
        return str(here.resolve())
    elif there.is_dir():
        return data
    else:
        where = "" if here.is_absolute() else f", neither here nor in {folder}"
        problem = f"there is no folder {data}{where}: make it, connect its drive, or name another one."
    raise typer.BadParameter(problem, param_hint="--data")


@app.command()
def join(
    kit: Annotated[Path, typer.Argument(help="NAME.zip, as the server's operator gave it to you.")],
    folder: Annotated[Path, typer.Option(help="Folder of the site.toml.")] = Path(),
    yes: YesOption = False,
) -> None:
    """Join a federation: store its certificates, and write the table "federation" of site.toml."""
    from medfl.deploy.kits import join_federation, read_kit

    contents = read_kit(kit)
    manifest = contents.manifest
    offer = f"{manifest.site} would join {manifest.federation}, at {manifest.address}, whose authority has the fingerprint"
    output.print(offer, f"  {contents.fingerprint}", sep="\n", soft_wrap=True)
    confirm("Does the operator read you the same fingerprint by telephone?", yes=yes)
    path = join_federation(contents, folder)
    output.print(f"Joined until {manifest.expires}. See federation.server in {path}.", soft_wrap=True)
    output.print(f"Next: medfl doctor {folder}. If the site is up, start it again.", soft_wrap=True)


@app.command()
def up(folder: SiteFolder = Path()) -> None:
    """Connect to the server and answer its messages, until Ctrl-C: only approved studies, on this site's own terms."""
    from medfl.deploy.site_processes import site_up

    raise typer.Exit(site_up(folder, lambda line: output.print(line, soft_wrap=True)))


@app.command()
def unit(folder: SiteFolder = Path(), user: Annotated[str, typer.Option(help="Account that is to run it.")] = "") -> None:
    """Print a systemd unit for the site."""
    from medfl.deploy.systemd_units import site_unit
    from medfl.site import read_site

    typer.echo(site_unit(folder, read_site(folder).name, user or getpass.getuser()), nl=False)
