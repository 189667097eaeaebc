"""Signatures with the keys that sites were enrolled with (ECDSA on P-384, SHA-384), each for one use alone."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key

_HASH = ec.ECDSA(hashes.SHA384())
_P384_BYTES = 48
SIGNATURE_BYTES = 2 * _P384_BYTES


def read_public_key(text: str) -> ec.EllipticCurvePublicKey:
    """Return the enrolled key of a site; ValueError unless it is one on P-384 in its one spelling."""
    try:
        key = load_ssh_public_key(text.encode())
    except (UnsupportedAlgorithm, TypeError, AttributeError) as error:
        raise ValueError("not a key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise ValueError("another kind of key")
    if key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() != text:
        raise ValueError("another spelling")
    return key


def sign(text: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the signature of a text, of the same size whatever is signed."""
    r, s = decode_dss_signature(key.sign(text, _HASH))
    return r.to_bytes(_P384_BYTES, "big") + s.to_bytes(_P384_BYTES, "big")


def is_signed_by(signature: bytes, text: bytes, key: ec.EllipticCurvePublicKey) -> bool:
    """Return whether the holder of a key signed a text."""
    if not isinstance(signature, bytes) or len(signature) != SIGNATURE_BYTES:
        return False
    r, s = (int.from_bytes(part, "big") for part in (signature[:_P384_BYTES], signature[_P384_BYTES:]))
    try:
        key.verify(encode_dss_signature(r, s), text, _HASH)
    except InvalidSignature:
        return False
    return True
