"""Reverse proxy of a federation's server: nginx publishes what hospitals need of Flower's Fleet API and nothing else.

Flower serves its Fleet, Control and Runtime APIs on one port, and its Control API does not ask callers to identify themselves.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from medfl.errors import DeployError

_SEARCH_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"))
_MAX_CONNECTIONS = 64  # at once from one address, which several hospitals may share
_TEMP_FOLDERS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")  # folders that nginx wants to write to, used or not


@dataclass(frozen=True)
class ProxyConfig:
    """Settings of nginx.

    Parameters
    ----------
    folder : Path
        Folder of its configuration and its temporary files.
    listen : str
        Published address and port, such as ``0.0.0.0:443``.
    upstream : int
        Port of Flower's server on loopback.
    certificate, key : Path
        Certificate and private key of the server.
    ca : Path
        Certificate of the CA that signed the certificates of the server and the sites.
    crl : Path, optional
        List of revoked certificates; with it, every caller must show a certificate.
    max_body_megabytes : int
        Largest request. Flower sends a model in pieces of 5 MiB, and everything that is not an array in one piece. It reads a
        request before it checks who sent it.
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
# Written by medfl at every start; your changes would be lost.
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
        client_max_body_size {max_body}m;
        limit_conn callers {connections};
        client_body_timeout 300s;
        keepalive_timeout 300s;
        send_timeout 300s;

        # sites are enrolled on the server's own machine only
        location /v1/fleet/register-node {{ return 403; }}
        location /v1/fleet/unregister-node {{ return 403; }}
        location /v1/fleet/ {{
            proxy_pass https://127.0.0.1:{upstream};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host localhost;  # Flower need not read what a caller writes there
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


def write_config(config: ProxyConfig) -> Path:
    """Write ``nginx.conf`` and the folders that nginx needs, and return the file."""
    config.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in _TEMP_FOLDERS:
        (config.folder / name).mkdir(exist_ok=True, mode=0o700)
    path = config.folder / "nginx.conf"
    path.write_text(render_config(config), encoding="utf-8")
    return path


def render_config(config: ProxyConfig) -> str:
    """Return the text of ``nginx.conf``."""
    clients = ""
    if config.crl is not None:
        directives = ("ssl_verify_client on;", f"ssl_client_certificate {_quote(config.ca)};", f"ssl_crl {_quote(config.crl)};")
        clients = "\n".join(f"        {directive}" for directive in directives)
    return _TEMPLATE.format(
        folder=str(config.folder.resolve()),
        temporary="\n".join(f"    {name}_temp_path {_quote(config.folder / name)};" for name in _TEMP_FOLDERS),
        listen=config.listen,
        certificate=_quote(config.certificate),
        key=_quote(config.key),
        clients=clients,
        max_body=config.max_body_megabytes,
        connections=_MAX_CONNECTIONS,
        upstream=config.upstream,
        ca=_quote(config.ca),
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
        fix = "Install it, on Debian or Ubuntu: apt-get install nginx-light. It does not have to run as a service of its own."
        raise DeployError("NGINX-MISSING", "nginx is not installed on this machine, and the server needs it.", fix)
    return [nginx, "-c", str(path.resolve()), "-p", str(path.parent.resolve()), "-e", "stderr"]


def _quote(path: Path) -> str:
    return '"' + str(path.resolve()).replace('"', '\\"') + '"'
