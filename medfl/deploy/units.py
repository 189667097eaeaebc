"""systemd units: a server or a site that starts with its machine, and again when it fails."""

from __future__ import annotations

import sys
from pathlib import Path

_UNIT = """\
[Unit]
Description={what}
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart={python} -P -m medfl {command} {folder}
User={user}
Restart=always
RestartSec=15
TimeoutStopSec=60
KillMode=mixed
UMask=0077
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=full
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
{more}
[Install]
WantedBy=multi-user.target
"""


def server_unit(folder: Path, name: str, user: str) -> str:
    """Return the systemd unit of a federation's server.

    Parameters
    ----------
    folder : Path
        Of the federation.
    name : str
        Of the federation.
    user : str
        Account to run it; it needs no rights but on the folder, and may listen on a port below 1024.
    """
    ports = "AmbientCapabilities=CAP_NET_BIND_SERVICE\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\n"
    return _unit(f"medfl: server of the federation {name}", "server up", folder, user, ports)


def site_unit(folder: Path, name: str, user: str) -> str:
    """Return the systemd unit of a site.

    Parameters
    ----------
    folder : Path
        With the ``site.toml``.
    name : str
        Of the site.
    user : str
        Account to run it; it must be able to read the images.
    """
    return _unit(f"medfl: site {name}", "site up", folder, user, "CapabilityBoundingSet=\n")


def _unit(what: str, command: str, folder: Path, user: str, more: str) -> str:
    return _UNIT.format(
        what=what, python=_quoted(Path(sys.executable)), command=command, folder=_quoted(folder.resolve()), user=user, more=more
    )


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'
