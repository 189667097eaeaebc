"""Reverse proxy of a federation's server: nginx publishes what hospitals need of Flower's Fleet API and nothing else.

Flower serves its Fleet, Control and Runtime APIs on one port, and its Control API does not ask callers to identify themselves.
"""

from __future__ import annotations

import os
import resource
import shutil
from dataclasses import dataclass
from pathlib import Path

from medfl.errors import DeployError

_SEARCH_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"))
_STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")  # where Debian and Ubuntu put it
_TEMP_FOLDERS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")  # folders that nginx wants to write to, used or not

# A hospital keeps fewer than ten connections; several hospitals may share an address
_MAX_CONNECTIONS = 64  # at once from one hospital, or from one address where nobody shows a certificate
_MAX_ACCEPTED = 256  # at once from one address, before anybody knows who it is
_SPARE_FILES = 128  # of a process of nginx: logs, listening sockets
_MOST_FILES = 16384
# A SuperNode asks about twice a second, and sends or gets a model in pieces of 5 MiB: this is 1 GB/s
_REQUESTS_PER_SECOND, _BURST = 200, 1000


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
    inner : int, optional
        Port on loopback, behind a door that counts the connections of each address when they are accepted. nginx needs its
        stream module for that; without it, strangers who say nothing are only shut out by the clock.
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
    inner: int | None = None
    max_body_megabytes: int = 64


_TEMPLATE = """\
# Written by medfl at every start; your changes would be lost.
{module}daemon off;
worker_processes auto;
worker_rlimit_nofile {files};
pid "{folder}/nginx.pid";
error_log stderr warn;
events {{ worker_connections {events}; }}
{stream}http {{
    access_log /dev/stdout combined;
    server_tokens off;
    limit_conn_zone {caller} zone=callers:1m;
    limit_req_zone {caller} zone=requests:1m rate={rate}r/s;
{temporary}
    server {{
        listen {listen};
{addresses}
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20;  # of TLS 1.2; those of 1.3 are all of this kind
        ssl_session_cache shared:medfl:1m;
        ssl_session_tickets off;
{clients}
        client_max_body_size {max_body}m;
        limit_conn callers {connections};
        limit_req zone=requests burst={burst} nodelay;
        client_header_timeout 10s;  # of the handshake, too
        client_body_timeout 60s;  # between two pieces of a body
        keepalive_timeout 300s;
        send_timeout 60s;
        reset_timedout_connection on;

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

# In front of the above: it counts the connections of an address when they are accepted, which the http module does only once
# it has read a whole request.
_STREAM_TEMPLATE = """\
stream {{
    limit_conn_zone $binary_remote_addr zone=addresses:1m;
    server {{
        listen {listen};
        limit_conn addresses {accepted};
        proxy_pass 127.0.0.1:{inner};
        proxy_protocol on;
        proxy_connect_timeout 10s;
        proxy_timeout 600s;
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
    door = {"module": "", "stream": "", "listen": f"{config.listen} ssl", "addresses": ""}
    if config.inner is not None:
        door = {
            "module": f"load_module {_quote(_STREAM_MODULE)};\n",
            "stream": _STREAM_TEMPLATE.format(listen=config.listen, accepted=_MAX_ACCEPTED, inner=config.inner),
            "listen": f"127.0.0.1:{config.inner} ssl proxy_protocol",
            "addresses": "        set_real_ip_from 127.0.0.1;\n        real_ip_header proxy_protocol;",
        }
    files = _file_limit()
    return _TEMPLATE.format(
        **door,
        folder=str(config.folder.resolve()),
        files=files,
        events=files - _SPARE_FILES,
        caller="$ssl_client_serial" if config.crl is not None else "$binary_remote_addr",
        rate=_REQUESTS_PER_SECOND,
        burst=_BURST,
        temporary="\n".join(f"    {name}_temp_path {_quote(config.folder / name)};" for name in _TEMP_FOLDERS),
        certificate=_quote(config.certificate),
        key=_quote(config.key),
        clients=_client_directives(config),
        max_body=config.max_body_megabytes,
        connections=_MAX_CONNECTIONS,
        upstream=config.upstream,
        ca=_quote(config.ca),
    )


def has_stream_module() -> bool:
    """Return whether nginx can count the connections of an address before it knows whose they are."""
    return _STREAM_MODULE.is_file()


def _client_directives(config: ProxyConfig) -> str:
    if config.crl is None:
        return ""
    directives = ("ssl_verify_client on;", f"ssl_client_certificate {_quote(config.ca)};", f"ssl_crl {_quote(config.crl)};")
    return "\n".join(f"        {directive}" for directive in directives)


def _file_limit() -> int:
    """Return how many files a process of nginx may open, each connection being one or two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_FILES if hard == resource.RLIM_INFINITY else max(1024, min(hard, _MOST_FILES))


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
