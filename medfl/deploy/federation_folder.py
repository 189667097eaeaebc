"""Folder of a federation's server: its layout, how it is created and opened."""

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
# The server of a federation; 'medfl server up' reads this file when it starts.
name = "{name}"
address = "{address}"        # at which the hospitals reach the server

[superlink]
port = {port}                 # of Flower's own server, on loopback only: never publish it

[proxy]
listen = "{listen}"          # address and port of this machine that nginx publishes
client-certificates = true    # refuse every caller without a certificate of this federation, before anything else; false
                              # only where a web proxy between you and a hospital ends its TLS (docs/operate.md)
max-body-megabytes = 64       # largest request; a model comes in pieces of 5 MiB

[identities]
days = 365                    # how long a site belongs to the federation unless it is renewed
warn-days = 30                # days before that to begin with warnings

[monitor]
listen = ""                   # "127.0.0.1:9464": /health, and /metrics for Prometheus, for this machine only
on-failure = ""               # command that is started when a run fails; gets MEDFL_RUN, MEDFL_STATUS and MEDFL_CODE
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
        """Certificate of the federation's own certificate authority; public."""
        return self.path / "ca" / "ca.crt"

    @property
    def ca_key(self) -> Path:
        """Private key of the authority; needed only to enrol, renew and revoke."""
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
        """List of revoked certificates, which nginx reads."""
        return self.path / "proxy" / "crl.pem"

    @property
    def runs(self) -> Path:
        """Folder of all runs."""
        return self.path / "runs"

    @property
    def submitted(self) -> Path:
        """Folder of all submitted runs: the study of each as it was given to Flower, and its key."""
        return self.path / "submitted"


def open_federation(path: Path) -> FederationFolder:
    """Open the folder of a federation's server.

    Raises
    ------
    DeployError
        ``FEDERATION-MISSING`` when there is none.
    ConfigError
        If the settings are invalid, with everything that is wrong in ``federation.toml``.
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
    """Create a federation: its certificate authority, the server's certificate, and its settings.

    Parameters
    ----------
    path : Path
        Folder to create; it may exist already, but must not hold a federation.
    name : str
        Name of the federation, for people.
    address : str
        host:port at which the hospitals will reach the server.
    listen : str
        Address and port of this machine to publish; by default all of its addresses, with the port of `address`.

    Raises
    ------
    DeployError
        ``FEDERATION-EXISTS``.
    ConfigError
        When the name or the address is not valid.
    """
    if (path / FEDERATION_FILE).exists():
        fix = "Use it, or name another folder; a second authority would lock the enrolled sites out."
        raise DeployError("FEDERATION-EXISTS", "there is a federation in this folder already.", fix)
    listen = listen or f"0.0.0.0:{address.rpartition(':')[2]}"
    port = find_free_port()
    values = {"name": name, "address": address, "superlink": {"port": port}, "proxy": {"listen": listen}}
    settings = read_section(FederationSettings, values, FEDERATION_FILE)  # accepts nothing that would have to be quoted
    text = _TEMPLATE.format(name=name, address=address, listen=listen, port=port)
    with translate_disk_errors("the federation", "give the same command again"):
        path.mkdir(parents=True, exist_ok=True)
        folder = FederationFolder(path.resolve(), settings)
        for part in ("ca", "server", "sites", "kits", "superlink", "proxy", "runs", "logs"):
            (path / part).mkdir(exist_ok=True, mode=0o700)
        ca.create_ca(folder.ca_certificate, folder.ca_key, name)
        ca.issue_server_certificate(folder.ca_certificate, folder.ca_key, folder.server_certificate, folder.server_key, address)
        ca.write_crl(folder.ca_certificate, folder.ca_key, folder.crl, [])
        write_file(path / FEDERATION_FILE, text.encode())  # last: without this file the folder does not count as a federation
    return folder
