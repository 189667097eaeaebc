"""Shares on their way from site to site through the server: ChaCha20-Poly1305 (RFC 8439), bound to where they belong."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from medfl.errors import SecureAggregationError
from medfl.secure_aggregation.attempt_secrets import agree
from medfl.secure_aggregation.canonical import spell
from medfl.secure_aggregation.keystream import derive_key
from medfl.secure_aggregation.seed_shares import SEED_BYTES

_NONCE_BYTES = 12


@dataclass(frozen=True)
class Envelope:
    """Where a pair of shares belongs.

    Parameters
    ----------
    attempt : str
        Digest of the attempt.
    keys : str
        Digest of the list of keys that the sender saw.
    sender, receiver : str
        Names of the sites.
    """

    attempt: str
    keys: str
    sender: str
    receiver: str

    def seal(self, mask_share: bytes, self_mask_share: bytes, private: bytes, public: bytes) -> bytes:
        """Encrypt the shares of mask seed and self-mask seed, with the sender's private and the receiver's public key."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher(private, public).encrypt(nonce, mask_share + self_mask_share, self._bound())

    def open(self, sealed: bytes, private: bytes, public: bytes) -> tuple[bytes, bytes]:
        """Return the two shares, with the receiver's private and the sender's public key.

        Raises
        ------
        SecureAggregationError
            ``SECAGG-SHARE`` when the sender did not encrypt them for this receiver, attempt and list of keys.
        """
        try:
            nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            shares = self._cipher(private, public).decrypt(nonce, rest, self._bound())
            if len(shares) != 2 * SEED_BYTES:
                raise ValueError("another size")
        except (InvalidTag, ValueError, TypeError):
            what = f"the shares of {self.sender!r} are not what that site encrypted for this site and attempt."
            raise SecureAggregationError(
                "SECAGG-SHARE", what, "Repeat the round; if it comes again, tell the server's operator."
            ) from None
        return shares[:SEED_BYTES], shares[SEED_BYTES:]

    def _cipher(self, private: bytes, public: bytes) -> ChaCha20Poly1305:
        return ChaCha20Poly1305(derive_key(agree(private, public), "shares", self._fields()))

    def _bound(self) -> bytes:
        return spell("shares", self._fields())

    def _fields(self) -> dict[str, str]:
        return {"attempt": self.attempt, "keys": self.keys, "sender": self.sender, "receiver": self.receiver}
