"""Signatures for tests: a federation's authority, the server that it certified, and the key of a run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from flwr.app import Message, RecordDict

from medfl.deploy.ca import create_ca, issue_server_certificate
from medfl.deploy.identity import load_key, make_key, public_key_text
from medfl.messages.signatures import SIGNATURE, RunSigner, RunStatement, SignedMessage, digest_content, sign_statement


@dataclass
class Authority:
    """A federation's authority with the certificate of its server.

    Parameters
    ----------
    folder : Path
        Holds ``ca.crt``, ``ca.key``, ``server.crt``, ``server.key``, and a key for each site.
    """

    folder: Path

    @staticmethod
    def make(folder: Path) -> Authority:
        """Make one in a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        create_ca(folder / "ca.crt", folder / "ca.key", "test")
        files = (folder / name for name in ("ca.crt", "ca.key", "server.crt", "server.key"))
        issue_server_certificate(*files, "127.0.0.1:1")
        return Authority(folder)

    @property
    def ca(self) -> bytes:
        """Return the certificate of the authority."""
        return (self.folder / "ca.crt").read_bytes()

    def site_key(self, name: str) -> ec.EllipticCurvePrivateKey:
        """Return the private key of a site, made if there is none."""
        make_key(self.folder / f"{name}.key")
        return load_key(self.folder / f"{name}.key")

    def signer(self, run: str, study: str, sites: tuple[str, ...] = (), days: float = 1.0) -> RunSigner:
        """Return what signs the messages of a run."""
        private = Ed25519PrivateKey.generate()
        expires = (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)
        statement = RunStatement(run, study, private.public_key().public_bytes_raw().hex(), expires)
        server = load_pem_private_key((self.folder / "server.key").read_bytes(), None)
        assert isinstance(server, ec.EllipticCurvePrivateKey)
        keys = {name: public_key_text(self.site_key(name)) for name in sites}
        certificate = (self.folder / "server.crt").read_bytes()
        return RunSigner(private, statement, sign_statement(statement, server), certificate, keys)


def signed(message: Message, signer: RunSigner) -> Message:
    """Sign a message as the server does."""
    about = message.metadata
    covered = SignedMessage(about.run_id, about.message_type, about.dst_node_id, digest_content(message.content))
    message.content = RecordDict({**dict(message.content.items()), SIGNATURE: signer.sign(covered)})
    return message
