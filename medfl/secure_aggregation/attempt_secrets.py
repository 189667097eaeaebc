"""Secrets of a site for one attempt: all fresh, and of no use in another one."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from medfl.errors import SecureAggregationError
from medfl.secure_aggregation.attempt import Attempt
from medfl.secure_aggregation.keystream import derive_key
from medfl.secure_aggregation.seed_shares import SEED_BYTES

KEY_BYTES = 32


@dataclass(frozen=True, repr=False)
class AttemptSecrets:
    """Secrets of a site for one attempt.

    Parameters
    ----------
    cipher_key : bytes
        Private key (X25519) under which shares are encrypted on their way; 32 bytes. Nobody else ever learns it.
    mask_seed : bytes
        16 bytes that give the private key (X25519) of the pairwise masks; other sites hold shares of it.
    self_mask_seed : bytes
        16 bytes that give the mask of the site itself; other sites hold shares of it.
    """

    cipher_key: bytes
    mask_seed: bytes
    self_mask_seed: bytes


def fresh_secrets() -> AttemptSecrets:
    """Return secrets that nobody had before."""
    return AttemptSecrets(secrets.token_bytes(KEY_BYTES), secrets.token_bytes(SEED_BYTES), secrets.token_bytes(SEED_BYTES))


def mask_private_key(mask_seed: bytes, attempt: Attempt, site: str) -> bytes:
    """Return the private key of the pairwise masks of a site."""
    return derive_key(mask_seed, "mask key", {"attempt": attempt.digest, "site": site})


def self_mask_commitment(self_mask_seed: bytes, attempt: Attempt, site: str) -> bytes:
    """Return what a site publishes of its own mask beforehand: a seed that is put together of shares is held against it."""
    return derive_key(self_mask_seed, "self-mask commitment", {"attempt": attempt.digest, "site": site})


def public_key(private: bytes) -> bytes:
    """Return the public key of a private one (X25519, RFC 7748)."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agree(private: bytes, public: bytes) -> bytes:
    """Return what two sites alone know, each with its own private key and the other's public one.

    Raises
    ------
    SecureAggregationError
        ``SECAGG-KEYS`` for a public key that would make it the same with every private key.
    """
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        what = "a public key of a site is not one that a secret can be agreed upon with."
        raise SecureAggregationError("SECAGG-KEYS", what, "Find out who changed it: see the server's log.") from None
