"""systemd units: a server or a site that starts with its machine, and again when it fails."""

from __future__ import annotations

import sys
from pathlib import Path

_TEMPLATE = """\
# Put it in /etc/systemd/system/{file}, then: systemctl daemon-reload && systemctl enable --now {file}
[Unit]
Description={what}
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart=:{python} -P -m medfl {command} {folder}
User={user}
Restart=on-failure
RestartSec=15
TimeoutStopSec=90
KillMode=mixed
UMask=0077
NoNewPrivileges=yes
PrivateTmp=yes
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
    more = f"ProtectSystem=strict\nReadWritePaths={_quote(folder.resolve())}\n"
    if user != "root":  # root's nginx gives its rights up by itself, and needs them for that
        more += "AmbientCapabilities=CAP_NET_BIND_SERVICE\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\n"
    return _render_unit("medfl-server.service", f"medfl: server of the federation {name}", "server up", folder, user, more)


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
    more = "ProtectSystem=full\nCapabilityBoundingSet=\n"
    return _render_unit("medfl-site.service", f"medfl: site {name}", "site up", folder, user, more)


def _render_unit(file: str, what: str, command: str, folder: Path, user: str, more: str) -> str:
    return _TEMPLATE.format(
        file=file,
        what=what,
        python=_quote(Path(sys.executable)),
        command=command,
        folder=_quote(folder.resolve()),
        user=user,
        more=more,
    )


def _quote(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'
