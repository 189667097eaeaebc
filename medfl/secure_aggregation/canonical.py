"""The one spelling of what is signed, digested, or bound into a key."""

from __future__ import annotations

import hashlib
import json

_DIGEST_CHARACTERS = frozenset("0123456789abcdef")
_DIGEST_LENGTH = 64


def spell(label: str, fields: object) -> bytes:
    """Return JSON values in their one spelling, behind a label that no other use has.

    Parameters
    ----------
    label : str
        What it is for.
    fields : object
        JSON values; a number is spelt with as many digits as tell it from every other.
    """
    return (
        f"medfl secure aggregation 1: {label}\n".encode()
        + json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    )


def digest(label: str, fields: object) -> str:
    """Return the SHA-256 of `spell`, hexadecimal."""
    return hashlib.sha256(spell(label, fields)).hexdigest()


def is_digest(text: object) -> bool:
    """Return whether a value is a SHA-256 in lower-case hexadecimal."""
    return isinstance(text, str) and len(text) == _DIGEST_LENGTH and set(text) <= _DIGEST_CHARACTERS
