"""What a site keeps of an attempt on its own disk, so that it goes on where it was stopped, and never does a step twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from medfl.errors import SecureAggregationError
from medfl.secure_aggregation.attempt_secrets import AttemptSecrets
from medfl.secure_aggregation.masks import MaskBinding
from medfl.secure_aggregation.messages import EncryptedShares, KeyAdvertisement, KeyList, SurvivorSignature, UnmaskingShares


@dataclass(repr=False)
class SiteState:
    """State of a site in one attempt; what is None has not happened yet.

    Parameters
    ----------
    advertisement : KeyAdvertisement
        Its public keys.
    secrets : AttemptSecrets, optional
        None once the site has given its shares: nothing needs them any more.
    keys : tuple of KeyAdvertisement, optional
        Keys of all sites of the attempt.
    own_shares : EncryptedShares, optional
        Shares of its own seeds, for the others.
    held : dict of str to pair of bytes
        Shares of mask seed and self-mask seed that it holds, by site.
    binding : MaskBinding, optional
        What its masks were derived from.
    vector : str
        Digest of its masked vector; "" before there is one.
    vector_sizes : tuple of int
        Bits, parameters and counters of the vector.
    survivors : tuple of str, optional
        The survivors that it signed.
    signature : SurvivorSignature, optional
        That signature.
    released : UnmaskingShares, optional
        What it gave so that the sum can be opened.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(ser_json_bytes="hex", val_json_bytes="hex", extra="forbid")

    advertisement: KeyAdvertisement
    secrets: AttemptSecrets | None
    keys: KeyList | None = None
    own_shares: EncryptedShares | None = None
    held: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    binding: MaskBinding | None = None
    vector: str = ""
    vector_sizes: tuple[int, int, int] = (0, 0, 0)
    survivors: tuple[str, ...] | None = None
    signature: SurvivorSignature | None = None
    released: UnmaskingShares | None = None

    def to_json(self) -> bytes:
        """Return the state as JSON."""
        return _STATE.dump_json(self)

    @staticmethod
    def from_json(content: bytes) -> SiteState:
        """Read a state.

        Raises
        ------
        SecureAggregationError
            ``SECAGG-STATE`` when it is not one.
        """
        try:
            return _STATE.validate_json(content)
        except ValidationError:
            raise damaged_state_error() from None


@dataclass(frozen=True)
class Release:
    """For which attempt and survivors a site gave shares, once for each model.

    Parameters
    ----------
    attempt : str
        Digest of the attempt.
    survivors : tuple of str
        Sites in the sum.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    attempt: str
    survivors: tuple[str, ...]

    def to_json(self) -> bytes:
        """Return the record as JSON."""
        return _RELEASE.dump_json(self)

    @staticmethod
    def from_json(content: bytes) -> Release:
        """Read a record: ``SECAGG-STATE`` when it is not one."""
        try:
            return _RELEASE.validate_json(content)
        except ValidationError:
            raise damaged_state_error() from None


def damaged_state_error() -> SecureAggregationError:
    """Return the error of a state that cannot be read: nothing may be sent that could be a second answer."""
    what = "what this site keeps of an attempt, or of a sum that it helped to open, is damaged."
    return SecureAggregationError("SECAGG-STATE", what, "Sit this round out; a copy of the folder would use masks again.")


_STATE = TypeAdapter(SiteState)
_RELEASE = TypeAdapter(Release)
