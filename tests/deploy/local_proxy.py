"""A proxy for tests: a federation with sites, and a fake of Flower's server that would answer anything behind a real nginx."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_ssh_private_key

from medfl.deploy.federation_folder import FederationFolder
from medfl.deploy.proxy import ProxyConfig


class EchoHandler(BaseHTTPRequestHandler):
    """Answers every request with its path and the length of its body, or with the host that it was asked for."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer."""
        length, received = int(self.headers.get("Content-Length", 0)), 0
        while received < length:
            received += len(self.rfile.read(min(1 << 20, length - received)))
        answer = (self.headers["Host"] if self.path.endswith("/host") else f"{self.path} {received}").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = do_DELETE = do_POST

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@dataclass
class Setup:
    """A federation, a fake server, and the configuration of the proxy in front of it."""

    folder: FederationFolder
    config: ProxyConfig
    home: Path

    @property
    def port(self) -> int:
        """Return the published port."""
        return int(self.config.listen.rpartition(":")[2])

    def request(self, path: str, body: bytes = b"", method: str = "POST", site: str = "", host: str = "") -> tuple[int, str]:
        """Send a request through the proxy, optionally with a site's certificate."""
        context = ssl.create_default_context(cafile=self.folder.ca_certificate)
        if site:
            private = load_ssh_private_key((self.home / f"{site}.key").read_bytes(), None)
            pem = self.home / f"{site}.pem"
            pem.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            context.load_cert_chain(self.home / f"{site}.crt", pem)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=60)
        try:
            connection.request(method, path, body, {"Host": host} if host else {})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()


@contextmanager
def upstream(certificate: Path, key: Path) -> Iterator[int]:
    """Serve anything over TLS on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), EchoHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
