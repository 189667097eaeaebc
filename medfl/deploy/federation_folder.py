"""The folder of a federation's server: where everything lies, how it is made and opened."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from medfl.deploy import ca
from medfl.deploy.settings import FederationSettings
from medfl.errors import ConfigError, DeployError, Problem
from medfl.schema import read_section
from medfl.system.files import translate_disk_errors, write_file
from medfl.system.ports import find_free_port

FEDERATION_FILE = "federation.toml"

_TEMPLATE = """\
# The server of a federation; 'medfl server up' reads it at its start.
name = "{name}"
address = "{address}"        # under which the hospitals reach the server

[superlink]
port = {port}                 # of Flower's own server, on loopback only: never publish it

[proxy]
listen = "{listen}"          # what is published: address and port of this machine
client-certificates = false   # true: refuse, before anything else, who shows no certificate of this federation
max-body-megabytes = 64       # of one request; a model comes in pieces of 5

[identities]
days = 365                    # a site belongs for so long without being renewed
warn-days = 30
"""


@dataclass(frozen=True)
class FederationFolder:
    """A federation's server on disk.

    Parameters
    ----------
    path : Path
        The folder, absolute.
    settings : FederationSettings
        What its ``federation.toml`` says.
    """

    path: Path
    settings: FederationSettings

    @property
    def ca_certificate(self) -> Path:
        """Certificate of the federation's own authority; public."""
        return self.path / "ca" / "ca.crt"

    @property
    def ca_key(self) -> Path:
        """Its private key; needed to enrol, renew and revoke only."""
        return self.path / "ca" / "ca.key"

    @property
    def server_certificate(self) -> Path:
        """Certificate of the server, for its published address and for loopback."""
        return self.path / "server" / "server.crt"

    @property
    def server_key(self) -> Path:
        """Private key of the server."""
        return self.path / "server" / "server.key"

    @property
    def sites(self) -> Path:
        """Folder with one JSON file for each site."""
        return self.path / "sites"

    @property
    def kits(self) -> Path:
        """Folder with the startup kits."""
        return self.path / "kits"

    @property
    def crl(self) -> Path:
        """Certificates that were taken back, as nginx reads it."""
        return self.path / "proxy" / "crl.pem"

    @property
    def runs(self) -> Path:
        """Folder of all runs."""
        return self.path / "runs"


def open_federation(path: Path) -> FederationFolder:
    """Open the folder of a federation's server.

    Raises
    ------
    DeployError
        ``FEDERATION-MISSING`` when there is none.
    ConfigError
        With everything that is wrong in ``federation.toml``.
    """
    file = path / FEDERATION_FILE
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        fix = "Make one with 'medfl server init', or name its folder with '--federation'."
        raise DeployError("FEDERATION-MISSING", f"there is no {FEDERATION_FILE} in the folder {str(path)!r}.", fix) from None
    except OSError:
        raise DeployError("FEDERATION-MISSING", f"the {FEDERATION_FILE} cannot be read.", "Check its permissions.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(FEDERATION_FILE, "(whole file)", f"this is not valid TOML: {error}.")]) from None
    return FederationFolder(path.resolve(), read_section(FederationSettings, values, FEDERATION_FILE))


def init_federation(path: Path, name: str, address: str, listen: str = "") -> FederationFolder:
    """Make a federation: its ca, the server's certificate, and its settings.

    Parameters
    ----------
    path : Path
        Folder to make; it may be there, but hold no federation.
    name : str
        Of the federation, for people.
    address : str
        host:port under which the hospitals will reach the server.
    listen : str
        Address and port of this machine to publish; all of its addresses, with that port, unless given.

    Raises
    ------
    DeployError
        ``FEDERATION-EXISTS``.
    ConfigError
        When name or address are none.
    """
    if (path / FEDERATION_FILE).exists():
        fix = "Use it, or name another folder; a second authority would leave the enrolled sites outside."
        raise DeployError("FEDERATION-EXISTS", "there is a federation in this folder already.", fix)
    listen = listen or f"0.0.0.0:{address.rpartition(':')[2]}"
    port = find_free_port()
    values = {"name": name, "address": address, "superlink": {"port": port}, "proxy": {"listen": listen}}
    settings = read_section(FederationSettings, values, FEDERATION_FILE)  # lets nothing through that would have to be quoted
    text = _TEMPLATE.format(name=name, address=address, listen=listen, port=port)
    with translate_disk_errors("the federation", "give the same command again"):
        path.mkdir(parents=True, exist_ok=True)
        folder = FederationFolder(path.resolve(), settings)
        for part in ("ca", "server", "sites", "kits", "superlink", "proxy", "runs", "logs"):
            (path / part).mkdir(exist_ok=True, mode=0o700)
        ca.create_ca(folder.ca_certificate, folder.ca_key, name)
        ca.issue_server_certificate(folder.ca_certificate, folder.ca_key, folder.server_certificate, folder.server_key, address)
        ca.write_crl(folder.ca_certificate, folder.ca_key, folder.crl, [])
        write_file(path / FEDERATION_FILE, text.encode())  # last: without it nothing here counts as a federation
    return folder
