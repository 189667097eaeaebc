"""The only door to a federation's server: nginx, which publishes what hospitals need of Flower's Fleet API and nothing else.

Flower serves its Fleet, Control and Runtime APIs on one port, and the Control API asks nobody who he is.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from medfl.errors import DeployError

_SEARCH_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"))
_MAX_CONNECTIONS = 64  # at once from one address, behind which several hospitals may be
_TEMP_FOLDERS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")  # folders that nginx wants to write to, used or not


@dataclass(frozen=True)
class ProxyConfig:
    """What nginx is told.

    Parameters
    ----------
    folder : Path
        Where its configuration and its temporary files lie.
    listen : str
        Address and port that are published, as ``0.0.0.0:443``.
    upstream : int
        Port of Flower's server on loopback.
    certificate, key : Path
        Of the server.
    ca : Path
        Who signed it, and the certificates of the sites.
    crl : Path, optional
        List of certificates that were taken back; given, every caller must show a certificate.
    max_body_megabytes : int
        Of one request; Flower sends a model in pieces of 5 MiB, and what is no array as one. Flower reads a request before it
        asks who sends it.
    """

    folder: Path
    listen: str
    upstream: int
    certificate: Path
    key: Path
    ca: Path
    crl: Path | None = None
    max_body_megabytes: int = 64


_TEMPLATE = """\
# Written by medfl at every start; changes are lost.
daemon off;
worker_processes auto;
pid "{folder}/nginx.pid";
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log /dev/stdout combined;
    server_tokens off;
    limit_conn_zone $binary_remote_addr zone=callers:1m;
{temporary}
    server {{
        listen {listen} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:medfl:1m;
{clients}
        client_max_body_size {most}m;
        limit_conn callers {connections};
        client_body_timeout 300s;
        keepalive_timeout 300s;
        send_timeout 300s;

        # who belongs to the federation is decided on the server's own machine
        location /v1/fleet/register-node {{ return 403; }}
        location /v1/fleet/unregister-node {{ return 403; }}
        location /v1/fleet/ {{
            proxy_pass https://127.0.0.1:{upstream};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host localhost;  # what a caller writes there, Flower need not read
            proxy_ssl_trusted_certificate {ca};
            proxy_ssl_verify on;
            proxy_ssl_name localhost;
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_connect_timeout 10s;
            proxy_read_timeout 300s;
            proxy_send_timeout 300s;
        }}
        location / {{ return 404; }}
    }}
}}
"""


def write_config(door: ProxyConfig) -> Path:
    """Write ``nginx.conf`` and the folders that nginx needs, and return the file."""
    door.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in _TEMP_FOLDERS:
        (door.folder / name).mkdir(exist_ok=True, mode=0o700)
    path = door.folder / "nginx.conf"
    path.write_text(render_config(door), encoding="utf-8")
    return path


def render_config(door: ProxyConfig) -> str:
    """Return the text of ``nginx.conf``."""
    clients = ""
    if door.crl is not None:
        lines = ("ssl_verify_client on;", f"ssl_client_certificate {_quote(door.ca)};", f"ssl_crl {_quote(door.crl)};")
        clients = "\n".join(f"        {line}" for line in lines)
    return _TEMPLATE.format(
        folder=str(door.folder.resolve()),
        temporary="\n".join(f"    {name}_temp_path {_quote(door.folder / name)};" for name in _TEMP_FOLDERS),
        listen=door.listen,
        certificate=_quote(door.certificate),
        key=_quote(door.key),
        clients=clients,
        most=door.max_body_megabytes,
        connections=_MAX_CONNECTIONS,
        upstream=door.upstream,
        ca=_quote(door.ca),
    )


def nginx_command(path: Path) -> list[str]:
    """Return the command that runs nginx with a configuration.

    Raises
    ------
    DeployError
        ``NGINX-MISSING``.
    """
    nginx = shutil.which("nginx", path=_SEARCH_PATH)
    if nginx is None:
        fix = "Install it, on Debian or Ubuntu: apt-get install nginx-light. It need not run as a service of its own."
        raise DeployError("NGINX-MISSING", "there is no nginx on this machine, and it is the door to the server.", fix)
    return [nginx, "-c", str(path.resolve()), "-p", str(path.parent.resolve()), "-e", "stderr"]


def _quote(path: Path) -> str:
    return '"' + str(path.resolve()).replace('"', '\\"') + '"'
