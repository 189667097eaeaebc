"""The server's half of the protocol: it passes messages on, adds masked vectors as they come, and opens one sum.

Each stage is filled by `add_...` and ended by the method that gives what the sites need next. A stage that ends with fewer
sites than the threshold ends the attempt: nothing is unmasked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import IntEnum

from medfl.errors import SecureAggregationError
from medfl.secure_aggregation.attempt import Attempt
from medfl.secure_aggregation.layout import VectorLayout
from medfl.secure_aggregation.masks import MaskBinding
from medfl.secure_aggregation.messages import (
    EncryptedShares,
    KeyAdvertisement,
    KeyList,
    MaskedInput,
    SurvivorSignature,
    UnmaskingShares,
    digest_keys,
)
from medfl.secure_aggregation.roster import Roster
from medfl.secure_aggregation.signing import is_signed_by
from medfl.secure_aggregation.site_checks import require_advertisement, require_enough, signature_error
from medfl.secure_aggregation.unmasking import remove_pairwise_masks, remove_self_mask
from medfl.secure_aggregation.vector import ModularVector, zero_vector

_Message = KeyAdvertisement | EncryptedShares | MaskedInput | SurvivorSignature | UnmaskingShares


class _Stage(IntEnum):
    """What the server waits for."""

    KEYS = 1
    SHARES = 2
    INPUTS = 3
    SIGNATURES = 4
    UNMASKING = 5
    ENDED = 6


class ServerAttempt:
    """The server in one attempt of a round.

    Every `add_...` raises SecureAggregationError for a message that does not count, and is then as before: ``SECAGG-STAGE`` for
    one that came late or twice, ``SECAGG-STRANGER``, ``SECAGG-ATTEMPT``, or what it says.

    Parameters
    ----------
    attempt : Attempt
        The attempt.
    roster : Roster
        Roster of the run, as the sites approved it.
    """

    def __init__(self, attempt: Attempt, roster: Roster) -> None:
        self._attempt, self._roster, self._stage = attempt, roster, _Stage.KEYS
        self._keys: dict[str, KeyAdvertisement] = {}
        self._shares: dict[str, Mapping[str, bytes]] = {}
        self._inputs: set[str] = set()
        self._signatures: dict[str, bytes] = {}
        self._released: dict[str, UnmaskingShares] = {}
        self._layout: VectorLayout | None = None
        self._binding: MaskBinding | None = None
        self._total: ModularVector | None = None

    @property
    def survivors(self) -> tuple[str, ...]:
        """Sites whose masked vectors came, sorted."""
        return tuple(sorted(self._inputs))

    def add_keys(self, key: KeyAdvertisement) -> None:
        """Take the keys of a site; ``SECAGG-KEYS`` or ``SECAGG-SIGNATURE`` when it did not sign them."""
        self._expect(_Stage.KEYS, key, self._roster.names, self._keys)
        require_advertisement(key, self._attempt, self._roster)
        self._keys[key.site] = key

    def list_keys(self) -> KeyList:
        """End the stage of keys, and return the list that each site in it is sent; ``SECAGG-THRESHOLD``."""
        self._end(_Stage.KEYS, self._keys)
        self._keys = dict(sorted(self._keys.items()))
        return tuple(self._keys.values())

    def add_shares(self, shares: EncryptedShares) -> None:
        """Take the encrypted shares of a site; ``SECAGG-SHARE`` unless there are some for every other site with keys."""
        self._expect(_Stage.SHARES, shares, self._keys, self._shares)
        if set(shares.shares) != set(self._keys) - {shares.site}:
            what = f"{shares.site!r} did not share its seeds with every other site of the attempt."
            raise SecureAggregationError("SECAGG-SHARE", what, "Repeat the round as a new attempt.")
        self._shares[shares.site] = shares.shares

    def distribute_shares(self, model: str, layout: VectorLayout) -> dict[str, dict[str, bytes]]:
        """End the stage of shares, and return what each site that shared is sent: the shares for it, by sender.

        Parameters
        ----------
        model : str
            Digest of the model that all sites are sent.
        layout : VectorLayout
            Layout of the vectors.

        Raises
        ------
        SecureAggregationError
            ``SECAGG-THRESHOLD``.
        """
        self._end(_Stage.SHARES, self._shares)
        sharers = tuple(sorted(self._shares))
        keys = digest_keys(tuple(self._keys.values()))
        self._layout, self._total = layout, zero_vector(layout)
        self._binding = MaskBinding(self._attempt.digest, model, layout.digest, keys, sharers)
        return {to: {sender: self._shares[sender][to] for sender in sharers if sender != to} for to in sharers}

    def add_masked_input(self, masked: MaskedInput) -> None:
        """Add the masked vector of a site to the sum; ``SECAGG-MODEL`` or ``SECAGG-LAYOUT`` for one of another kind."""
        self._expect(_Stage.INPUTS, masked, self._shares, self._inputs)
        binding, layout, total = self._masked()
        if (masked.model, masked.layout) != (binding.model, binding.layout):
            what = f"{masked.site!r} masked an update of another model, or of another layout."
            raise SecureAggregationError("SECAGG-MODEL", what, "Every site needs the same model: repeat the round.")
        masked.vector.require(layout)
        total.add(masked.vector)
        self._inputs.add(masked.site)

    def list_survivors(self) -> tuple[str, ...]:
        """End the stage of masked vectors, and return the list that each survivor is to sign; ``SECAGG-THRESHOLD``."""
        self._end(_Stage.INPUTS, self._inputs)
        return self.survivors

    def add_signature(self, signed: SurvivorSignature) -> None:
        """Take the signature of a survivor; ``SECAGG-SIGNATURE`` when it signed something else."""
        self._expect(_Stage.SIGNATURES, signed, self._inputs, self._signatures)
        text = self._masked()[0].survivors_text(self.survivors)
        if not is_signed_by(signed.signature, text, self._roster.keys[signed.site]):
            raise signature_error(signed.site, "the list of survivors")
        self._signatures[signed.site] = signed.signature

    def list_signatures(self) -> dict[str, bytes]:
        """End the stage of signatures, and return what each site that signed is sent; ``SECAGG-THRESHOLD``."""
        self._end(_Stage.SIGNATURES, self._signatures)
        return dict(self._signatures)

    def add_unmasking_shares(self, released: UnmaskingShares) -> None:
        """Take the shares of a site that signed; ``SECAGG-SHARE`` unless it has one for each site."""
        self._expect(_Stage.UNMASKING, released, self._signatures, self._released)
        dropped = set(self._masked()[0].sharers) - self._inputs
        if set(released.self_masks) != self._inputs or set(released.mask_keys) != dropped:
            what = f"{released.site!r} did not give the shares that open the sum."
            raise SecureAggregationError("SECAGG-SHARE", what, "Repeat the round as a new attempt.")
        self._released[released.site] = released

    def unmask(self) -> ModularVector:
        """Open the sum of the vectors of the survivors.

        Raises
        ------
        SecureAggregationError
            ``SECAGG-THRESHOLD`` when too few sites gave shares; ``SECAGG-RECONSTRUCTION`` when shares of a site do not give
            what it promised.
        """
        self._end(_Stage.UNMASKING, self._released)
        binding, _, total = self._masked()
        position, threshold = self._roster.position, self._roster.threshold
        for name in self.survivors:
            shares = {position(giver): given.self_masks[name] for giver, given in self._released.items()}
            remove_self_mask(total, binding, self._attempt, self._keys[name], shares, threshold)
        survivors = [self._keys[name] for name in self.survivors]
        for name in sorted(set(binding.sharers) - self._inputs):
            shares = {position(giver): given.mask_keys[name] for giver, given in self._released.items()}
            remove_pairwise_masks(total, binding, self._attempt, self._keys[name], survivors, shares, threshold)
        return total

    def _expect(self, stage: _Stage, message: _Message, senders: Collection[str], before: Collection[str]) -> None:
        self._roster.require([message.site])
        self._attempt.require(message.attempt)
        if self._stage != stage or message.site not in senders or message.site in before:
            what = f"a message of {message.site!r} came late, twice, or without the one before it."
            raise SecureAggregationError("SECAGG-STAGE", what, "Nothing to do: the site is left out from here on.")

    def _end(self, stage: _Stage, present: Collection[str]) -> None:
        if self._stage != stage:
            raise SecureAggregationError("SECAGG-STAGE", "a stage was ended twice, or out of turn.", "Begin a new attempt.")
        self._stage = _Stage.ENDED
        require_enough(present, self._roster)
        self._stage = _Stage(stage + 1)

    def _masked(self) -> tuple[MaskBinding, VectorLayout, ModularVector]:
        if self._binding is None or self._layout is None or self._total is None:
            raise SecureAggregationError("SECAGG-STAGE", "no vector can have been masked yet.", "Begin a new attempt.")
        return self._binding, self._layout, self._total
