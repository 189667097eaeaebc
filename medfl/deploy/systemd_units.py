"""systemd units: a server or a site that starts with its machine, and is restarted when it fails."""

from __future__ import annotations

import sys
from pathlib import Path

_TEMPLATE = """\
# Save as /etc/systemd/system/{file}, then: systemctl daemon-reload && systemctl enable --now {file}
[Unit]
Description={description}
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
{restrictions}
[Install]
WantedBy=multi-user.target
"""


def server_unit(folder: Path, name: str, user: str) -> str:
    """Return the systemd unit of a federation's server.

    Parameters
    ----------
    folder : Path
        Folder of the federation.
    name : str
        Name of the federation.
    user : str
        Account that runs it; it needs no rights except on the folder, and may listen on a port below 1024.
    """
    restrictions = f"ProtectSystem=strict\nReadWritePaths={_quote(folder.resolve())}\n"
    if user != "root":  # nginx started by root gives up its rights by itself, and needs them to do so
        restrictions += "AmbientCapabilities=CAP_NET_BIND_SERVICE\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\n"
    return _render_unit(
        "medfl-server.service", f"medfl: server of the federation {name}", "server up", folder, user, restrictions
    )


def site_unit(folder: Path, name: str, user: str) -> str:
    """Return the systemd unit of a site.

    Parameters
    ----------
    folder : Path
        Folder of the ``site.toml``.
    name : str
        Name of the site.
    user : str
        Account that runs it; it must be able to read the images.
    """
    restrictions = "ProtectSystem=full\nCapabilityBoundingSet=\n"
    return _render_unit("medfl-site.service", f"medfl: site {name}", "site up", folder, user, restrictions)


def _render_unit(file: str, description: str, command: str, folder: Path, user: str, restrictions: str) -> str:
    return _TEMPLATE.format(
        file=file,
        description=description,
        python=_quote(Path(sys.executable)),
        command=command,
        folder=_quote(folder.resolve()),
        user=user,
        restrictions=restrictions,
    )


def _quote(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'
