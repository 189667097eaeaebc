"""The messages of the protocol: plain values. `attempt` is the digest of the attempt that a message is of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from medfl.secure_aggregation.attempt import Attempt
from medfl.secure_aggregation.canonical import digest, spell
from medfl.secure_aggregation.vector import ModularVector


@dataclass(frozen=True)
class KeyAdvertisement:
    """Public keys of a site for one attempt.

    Parameters
    ----------
    attempt, site : str
        The attempt, and the site's name.
    cipher_key, mask_key : bytes
        Public keys (X25519): for shares on their way, and for pairwise masks.
    commitment : bytes
        What the seed of the site's own mask is held against.
    signature : bytes
        With the key that the site was enrolled with.
    """

    attempt: str
    site: str
    cipher_key: bytes
    mask_key: bytes
    commitment: bytes
    signature: bytes = b""

    def text(self, attempt: Attempt) -> bytes:
        """Return what is signed."""
        return spell("keys", {"attempt": attempt.digest, **self.values()})

    def values(self) -> dict[str, str]:
        """Return the site and its keys as JSON values."""
        keys = {"cipher-key": self.cipher_key, "mask-key": self.mask_key, "commitment": self.commitment}
        return {"site": self.site} | {name: key.hex() for name, key in keys.items()}


KeyList = tuple[KeyAdvertisement, ...]
"""The advertisements of an attempt, by name of the site: what the server sends to each site that is in it."""


def digest_keys(keys: KeyList) -> str:
    """Return the SHA-256 of a list of keys: two sites with the same one saw the same keys of the same sites."""
    return digest("key list", [key.values() for key in keys])


@dataclass(frozen=True)
class EncryptedShares:
    """Shares of the two seeds of a site, each pair encrypted for one other site.

    Parameters
    ----------
    attempt, site : str
        The attempt, and the site whose seeds they are.
    shares : mapping of str to bytes
        By name of the site that can read them.
    """

    attempt: str
    site: str
    shares: Mapping[str, bytes]


@dataclass(frozen=True)
class MaskedInput:
    """The masked vector of a site.

    Parameters
    ----------
    attempt, site, model, layout : str
        The attempt, the site, and the digests of the model it was trained from and of the layout.
    vector : ModularVector
        Uniform to whoever lacks a mask of it.
    """

    attempt: str
    site: str
    model: str
    layout: str
    vector: ModularVector


@dataclass(frozen=True)
class SurvivorSignature:
    """Signature of a site over the survivors and over everything that its mask was derived from.

    Parameters
    ----------
    attempt, site : str
        The attempt and the site.
    signature : bytes
        With the key that the site was enrolled with.
    """

    attempt: str
    site: str
    signature: bytes


@dataclass(frozen=True)
class UnmaskingShares:
    """Shares that a site gives so that the sum can be opened: of each other site one of its two seeds, never both.

    Parameters
    ----------
    attempt, site : str
        The attempt and the site that gives them.
    self_masks : mapping of str to bytes
        Shares of the self-mask seeds of the survivors.
    mask_keys : mapping of str to bytes
        Shares of the mask seeds of the sites that dropped out after they had shared.
    """

    attempt: str
    site: str
    self_masks: Mapping[str, bytes]
    mask_keys: Mapping[str, bytes]
