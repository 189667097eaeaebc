"""Identity of a site: its private key, which never leaves, and the request that asks a federation to enrol it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
    load_ssh_public_key,
)

from medfl.errors import DeployError
from medfl.site import SITE_NAME_PATTERN
from medfl.system.files import write_file, write_private

_FORMAT = 1
_MAX_BYTES = 10_000  # bytes of a request
_SIGNATURE_CONTEXT = b"medfl enrolment request 1\n"


@dataclass(frozen=True)
class EnrolmentRequest:
    """A request to be enrolled, checked: whoever wrote it holds the private key.

    Parameters
    ----------
    name : str
        Name of the site.
    public_key : str
        OpenSSH format, without a comment.
    """

    name: str
    public_key: str

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the public key, which two people compare by telephone."""
        return key_fingerprint(self.public_key)


def make_key(path: Path) -> None:
    """Create a site's private key unless it exists: EC P-384 in OpenSSH format, as Flower reads it, for its owner alone."""
    if not path.exists():
        write_private(path, _private_key_text(_generate_key()), "the key of the site")


def make_identity(name: str) -> tuple[EnrolmentRequest, bytes]:
    """Create a key for a site that cannot create its own.

    Parameters
    ----------
    name : str
        Name of the site.

    Returns
    -------
    EnrolmentRequest
        The request that the site would have sent.
    bytes
        The private key, OpenSSH format: a secret.

    Raises
    ------
    DeployError
        ``SITE-NAME``.
    """
    if not re.fullmatch(SITE_NAME_PATTERN, name):
        fix = "A name has 1 to 64 letters (a to z), digits, '.', '_' or '-', and begins with a letter or digit."
        raise DeployError("SITE-NAME", f"{name!r} is not a valid name of a site.", fix)
    private = _generate_key()
    return EnrolmentRequest(name, public_key_text(private)), _private_key_text(private)


def write_request(key: Path, name: str, path: Path) -> EnrolmentRequest:
    """Write the request of a site: its name, its public key, and a signature that proves that it holds the private one.

    Parameters
    ----------
    key : Path
        The private key.
    name : str
        Name of the site.
    path : Path
        File to write; it holds nothing secret.
    """
    private = load_key(key)
    public = public_key_text(private)
    signature = base64.b64encode(private.sign(_text_to_sign(name, public), ec.ECDSA(hashes.SHA384()))).decode()
    request = {"format": _FORMAT, "name": name, "public-key": public, "signature": signature}
    write_file(path, json.dumps(request, indent=1).encode())
    return EnrolmentRequest(name, public)


def read_request(path: Path) -> EnrolmentRequest:
    """Read a request that a site has sent, and check it.

    Raises
    ------
    DeployError
        ``REQUEST-DAMAGED`` when it is not a request, or its signature does not match.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError("too long")
        request = json.loads(path.read_bytes())
        name, public, signature = str(request["name"]), str(request["public-key"]), base64.b64decode(request["signature"])
        key = load_ssh_public_key(public.encode())
        if request["format"] != _FORMAT or not re.fullmatch(SITE_NAME_PATTERN, name):
            raise ValueError("not a request")
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
            raise ValueError("another kind of key")
        if public != key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode():
            raise ValueError("not the one spelling of this key, by which it is recognised later")
        key.verify(signature, _text_to_sign(name, public), ec.ECDSA(hashes.SHA384()))
    except (OSError, ValueError, KeyError, TypeError, RecursionError, UnsupportedAlgorithm, InvalidSignature):
        fix = "Ask the site for the file that its 'medfl site init' wrote, NAME.request.json, unchanged."
        raise DeployError(
            "REQUEST-DAMAGED", f"{path.name} is not a request of a site, or was changed on the way.", fix
        ) from None
    return EnrolmentRequest(name, public)


def load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read a site's private key.

    Raises
    ------
    DeployError
        ``KEY-DAMAGED``.
    """
    try:
        private = load_ssh_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it has a passphrase
        fix = "Restore it from a copy, or make a new one with 'medfl site init --new-key' and send the new request."
        raise DeployError("KEY-DAMAGED", "the private key of this site is missing or cannot be read.", fix) from None
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise DeployError("KEY-DAMAGED", "the private key of this site is of another kind.", "Make a new one with '--new-key'.")
    return private


def private_key_pem(key: Path) -> bytes:
    """Return a site's private key as TLS needs it, PEM; raises as `load_key` does."""
    return load_key(key).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_key_text(private: ec.EllipticCurvePrivateKey) -> str:
    """Return the public key of a private key, OpenSSH format."""
    return private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def key_fingerprint(public_key: str) -> str:
    """Return the SHA-256 fingerprint of an OpenSSH key, as ``ssh-keygen -l`` prints it."""
    digest = hashlib.sha256(base64.b64decode(public_key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _text_to_sign(name: str, public_key: str) -> bytes:
    return _SIGNATURE_CONTEXT + f"{name}\n{public_key}".encode()


def _generate_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


def _private_key_text(private: ec.EllipticCurvePrivateKey) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
