"""Keys from secrets (HKDF, RFC 5869), and streams of uniform bits from keys (AES-256 in counter mode, NIST SP 800-38A)."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from medfl.secure_aggregation.canonical import spell

_KEY_BYTES = 32
_FIRST_BLOCK = bytes(16)  # a key has one stream, so the counter begins at nought


def derive_key(secret: bytes, label: str, fields: object) -> bytes:
    """Derive a key of 32 bytes with HKDF-SHA256.

    Parameters
    ----------
    secret : bytes
        What is secret: a seed, or what two sites agreed upon.
    label : str
        What the key is for; no other use has this label.
    fields : object
        JSON values that the key is bound to.
    """
    return HKDF(hashes.SHA256(), _KEY_BYTES, salt=None, info=spell(label, fields)).derive(secret)


class Keystream:
    """The bits that a key gives, from the first one on. A key is used for one stream.

    Parameters
    ----------
    key : bytes
        32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._encryptor = Cipher(algorithms.AES256(key), modes.CTR(_FIRST_BLOCK)).encryptor()

    def read(self, size: int) -> bytes:
        """Return the next bytes; however they are divided into reads, they are the same."""
        return self._encryptor.update(bytes(size))
