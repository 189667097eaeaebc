"""Commands `medfl server`: the server of a federation, and the sites that belong to it."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from medfl.cli.console import output, print_json
from medfl.cli.options import FederationOption, JsonOption, YesOption, confirm

if TYPE_CHECKING:
    from medfl.deploy.federation_folder import FederationFolder

app = typer.Typer(
    help="The server of a federation, and the sites that belong to it.", no_args_is_help=True, suggest_commands=False
)

FolderArgument = Annotated[Path, typer.Argument(help="Folder of the federation.")]
SiteArgument = Annotated[str, typer.Argument(help="Name of the site.")]


@app.command()
def init(
    folder: FolderArgument,
    name: Annotated[str, typer.Option(help="Name of the federation, for people.")],
    address: Annotated[str, typer.Option(help="host:port under which the hospitals will reach the server.")],
    listen: Annotated[
        str, typer.Option(help="address:port of this machine to publish; all of its addresses unless given.")
    ] = "",
) -> None:
    """Make a federation: its certificate authority, the server's certificate, and federation.toml to edit."""
    from medfl.deploy.federation_folder import init_federation

    created = init_federation(folder, name, address, listen)
    output.print(f"Made the federation {created.settings.name} in {created.path}.", soft_wrap=True)
    output.print(
        "The key of its certificate authority, ca/ca.key, decides who belongs to it: keep a copy in a safe place.",
    )


@app.command()
def enrol(
    request: Annotated[Path, typer.Argument(help="NAME.request.json, which the site's 'medfl site init' wrote.")],
    federation: FederationOption = Path("federation"),
    make_key: Annotated[bool, typer.Option(help="REQUEST is the name of a site that cannot make its key itself.")] = False,
    yes: YesOption = False,
) -> None:
    """Enrol a site, and write its startup kit."""
    from medfl.deploy.ca import ca_fingerprint
    from medfl.deploy.federation_folder import open_federation
    from medfl.deploy.identity import make_identity, read_request
    from medfl.deploy.kits import write_kit
    from medfl.deploy.site_registry import enrol as enrol_site

    folder = open_federation(federation)
    requested, key = make_identity(str(request)) if make_key else (read_request(request), b"")
    if make_key:
        output.print("Whoever has the kit can act as this site: hand it over in person, then delete it here.", style="yellow")
        confirm(f"Make a key for {requested.name}?", yes=yes)
    else:
        output.print(
            f"{requested.name} asks to be enrolled with the key of fingerprint {requested.fingerprint}",
            soft_wrap=True,
        )
        confirm("Does the site read you the same fingerprint by telephone?", yes=yes)
    site, certificate = enrol_site(folder, requested)
    path = write_kit(folder, site, certificate, key)
    output.print(f"Enrolled until {site.expires[:10]}. Give the site its kit: {path}", soft_wrap=True)
    authority = ca_fingerprint(folder.ca_certificate.read_bytes())
    output.print(f"Read them the fingerprint of the authority by telephone: {authority}", soft_wrap=True)


@app.command()
def sites(federation: FederationOption = Path("federation"), as_json: JsonOption = False) -> None:
    """List the sites: until when they belong to the federation, and whether they are connected."""
    from medfl.deploy.federation_folder import open_federation
    from medfl.deploy.presence import list_presence
    from medfl.deploy.site_registry import list_enrolled
    from medfl.errors import DeployError

    folder = open_federation(federation)
    found = list_enrolled(folder)
    try:
        present = list_presence(folder) if found else {}
    except DeployError as error:
        if error.code != "SERVER-DOWN":
            raise
        present = {}
    if as_json:
        keys = ("name", "enrolled", "expires", "revoked", "fingerprint")
        rows = [{key: getattr(s, key) for key in keys} | {"state": s.state()} for s in found]
        for row in rows:
            seen = present.get(row["name"])
            last = seen.last_seen.isoformat(timespec="seconds") if seen and seen.last_seen else None
            row |= {"online": seen.is_online if seen else None, "last-seen": last}
        print_json(rows)
        return
    table = Table("site", "state", "connected", "enrolled", "until", Column("key", overflow="fold"))
    for site in found:
        connected = str(present.get(site.name, "unknown: the server is down" if not present else ""))
        table.add_row(site.name, site.state(), connected, site.enrolled[:10], site.expires[:10], site.fingerprint)
    output.print(table if found else "Nobody is enrolled yet: medfl server enrol NAME.request.json")


@app.command()
def renew(
    site: Annotated[str, typer.Argument(help="Name of the site.")] = "",
    server: Annotated[bool, typer.Option("--server", help="Renew the certificate of the server itself.")] = False,
    federation: FederationOption = Path("federation"),
) -> None:
    """Renew the certificate of a site, and write its new kit; or that of the server. Without either, say what ends when."""
    from medfl.deploy import ca, kits, site_registry
    from medfl.deploy.deeds import note_at_server
    from medfl.deploy.federation_folder import open_federation

    if server and site:
        raise typer.BadParameter("give the name of a site, or --server")
    folder = open_federation(federation)
    if not server and not site:
        _tell_ends(folder)
        return
    if server:
        paths = (folder.ca_certificate, folder.ca_key, folder.server_certificate, folder.server_key)
        ca.issue_server_certificate(*paths, folder.settings.address)
        note_at_server(folder, "renewed-server")
        output.print("The server has a new certificate, which it uses from its next start on.")
        return
    renewed, certificate = site_registry.renew(folder, site)
    path = kits.write_kit(folder, renewed, certificate)
    output.print(f"{site} belongs until {renewed.expires[:10]}. Its new kit: {path}", soft_wrap=True)


def _tell_ends(folder: FederationFolder) -> None:
    """Print until when each certificate is valid, and how it is renewed; keys of runs are made anew and need nothing."""
    from cryptography import x509

    from medfl.deploy.site_registry import list_enrolled

    ends = x509.load_pem_x509_certificate(folder.server_certificate.read_bytes()).not_valid_after_utc
    table = Table("whose", "until", "renew it with")
    table.add_row("the server", f"{ends:%Y-%m-%d}", "medfl server renew --server")
    for site in list_enrolled(folder):
        is_over = site.state() in ("revoked", "expired")
        how = f"{site.state()}: it needs a new key" if is_over else f"medfl server renew {site.name}"
        table.add_row(site.name, site.expires[:10], how)
    output.print(table)
    output.print(
        "Messages are signed with a key for each run, which 'medfl run' and 'medfl resume' make: nothing to renew, and no "
        "site needs a new kit for it. A site that refuses messages as MESSAGE-UNSIGNED has a newer medfl than the server.",
        soft_wrap=True,
    )


@app.command()
def revoke(site: SiteArgument, federation: FederationOption = Path("federation"), yes: YesOption = False) -> None:
    """Revoke a site: a running server refuses its requests within half a minute."""
    from medfl.deploy.federation_folder import open_federation
    from medfl.deploy.site_registry import revoke as revoke_site

    confirm(f"Revoke {site}? It can come back only with a new key.", yes=yes)
    revoke_site(open_federation(federation), site)
    output.print(f"{site} is revoked.")


@app.command()
def up(folder: FolderArgument = Path("federation")) -> None:
    """Start the server and keep it running: Flower's SuperLink on loopback, with nginx as the only way in."""
    from medfl.deploy.server_processes import server_up

    raise typer.Exit(server_up(folder, lambda line: output.print(line, soft_wrap=True)))


@app.command()
def down(folder: FolderArgument = Path("federation")) -> None:
    """Stop the server. A run that is still going on can be resumed later."""
    from medfl.deploy.server_processes import server_down

    output.print("The server is down." if server_down(folder) else "The server was not running.")


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(help="Folder to make; keep it as safe as the federation's own.")],
    federation: FederationOption = Path("federation"),
) -> None:
    """Copy the folder of a server, which may be running: keys, sites, runs, and Flower's database of one moment."""
    from medfl.deploy.backup import backup as back_up
    from medfl.deploy.federation_folder import open_federation

    back_up(open_federation(federation), target)
    output.print(f"Copied to {target}. It holds the keys of the federation: encrypt it, and keep it apart.", soft_wrap=True)


@app.command()
def unit(
    folder: FolderArgument = Path("federation"),
    user: Annotated[str, typer.Option(help="Account that is to run it.")] = "",
) -> None:
    """Print a systemd unit for the server."""
    from medfl.deploy.federation_folder import open_federation
    from medfl.deploy.systemd_units import server_unit

    settings = open_federation(folder).settings
    typer.echo(server_unit(folder, settings.name, user or getpass.getuser()), nl=False)
