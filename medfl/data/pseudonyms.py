"""Keyed names for patients and cases, and the keyed order of patients that decides the splits."""

from __future__ import annotations

import base64
import hmac

_SEPARATOR = "\x1f"  # ASCII unit separator: ("a", "bc") and ("ab", "c") must not collide


def pseudonym(secret: bytes, kind: str, *parts: str, n: int = 10) -> str:
    """Name something by a keyed hash of what identifies it.

    Parameters
    ----------
    secret : bytes
        The secret of the site; a plain hash would not do, since patient numbers can be enumerated.
    kind : str
        What is named, ``"case"`` or ``"pat"``; it starts the name and enters the hash.
    *parts : str
        What identifies the thing at the site.
    n : int
        Characters of the hash (5 bits each).

    Returns
    -------
    str
        ``kind-`` and `n` characters of A-Z and 2-7.

    Examples
    --------
    >>> pseudonym(bytes(32), "case", "patient 1", "image 1")
    'case-4333WXJ6ZH'
    """
    digest = hmac.digest(secret, _SEPARATOR.join((kind, *parts)).encode(), "sha256")
    return f"{kind}-{base64.b32encode(digest).decode()[:n]}"


def patient_pseudonym(secret: bytes, site_name: str, patient: str) -> str:
    """Return the pseudonym of a patient, ``pat-XXXXXXXXXXXXXXXX``."""
    return pseudonym(secret, "pat", site_name, patient, n=16)


def split_order(seed: int, site_name: str, patient: str) -> str:
    """Return the place of a patient in the keyed order that decides the splits.

    It depends on nothing but the seed of the splits, the site's name and the original patient id, so the same data gives
    the same split on every machine, whatever the secret of the site.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    return hmac.digest(str(seed).encode(), _SEPARATOR.join((site_name, patient)).encode(), "sha256").hex()
