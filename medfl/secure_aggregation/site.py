"""A hospital's half of the protocol: advertise keys, share seeds, send a masked vector, sign the survivors, give shares.

Each step reads the state of the attempt from the site's store, and writes it before its answer is returned. A step that is
asked for again gets the answer that it got before; asked for with anything else, it is refused. So it does not matter whether a
step happens in the same process, or after a crash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from medfl.errors import SecureAggregationError
from medfl.secure_aggregation.attempt import Attempt
from medfl.secure_aggregation.attempt_secrets import (
    AttemptSecrets,
    fresh_secrets,
    mask_private_key,
    public_key,
    self_mask_commitment,
)
from medfl.secure_aggregation.canonical import is_digest
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
from medfl.secure_aggregation.one_sum import record_release, require_unopened
from medfl.secure_aggregation.roster import MIN_SURVIVORS, Roster
from medfl.secure_aggregation.seed_exchange import open_shares, seal_shares
from medfl.secure_aggregation.signing import sign
from medfl.secure_aggregation.site_checks import (
    require_enough,
    require_keys,
    require_signatures,
    require_survivors,
    survivors_error,
)
from medfl.secure_aggregation.site_state import Release, SiteState, damaged_state_error
from medfl.secure_aggregation.site_store import SiteStore
from medfl.secure_aggregation.vector import ModularVector, read_vector


class SiteAttempt:
    """A site in one attempt of a round.

    Parameters
    ----------
    attempt : Attempt
        The attempt, as the server names it.
    roster : Roster
        The roster that the site approved, never one that the server sends.
    site : str
        Name of the site.
    key : EllipticCurvePrivateKey
        Key that it was enrolled with.
    store : SiteStore
        Store of this site; all of its attempts and runs use the same one.
    min_sites : int
        Fewest sites in a sum by the site's policy; 3 whatever it says.

    Raises
    ------
    SecureAggregationError
        ``SECAGG-ROSTER`` when the attempt is of another roster, or the site is not in it with its key.
    """

    def __init__(
        self,
        attempt: Attempt,
        roster: Roster,
        site: str,
        key: ec.EllipticCurvePrivateKey,
        store: SiteStore,
        min_sites: int = MIN_SURVIVORS,
    ) -> None:
        own = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        if attempt.roster != roster.digest or not any(m.name == site and m.public_key == own for m in roster.members):
            what = "the round is of another roster than this hospital approved, or the hospital is not in it with its key."
            raise SecureAggregationError("SECAGG-ROSTER", what, "Approve the roster of the run, once it is the right one.")
        self._attempt, self._roster, self._site, self._key = attempt, roster, site, key
        self._store, self._min_sites = store, min_sites

    def advertise(self) -> KeyAdvertisement:
        """Return the site's public keys for this attempt, signed; the secrets are made now."""
        with self._store.locked():
            content = self._store.load(self._attempt.digest)
            if content is not None:
                return SiteState.from_json(content).advertisement
            attempt, site, secrets = self._attempt, self._site, fresh_secrets()
            unsigned = KeyAdvertisement(
                attempt.digest,
                site,
                public_key(secrets.cipher_key),
                public_key(mask_private_key(secrets.mask_seed, attempt, site)),
                self_mask_commitment(secrets.self_mask_seed, attempt, site),
            )
            advertisement = replace(unsigned, signature=sign(unsigned.text(attempt), self._key))
            self._save(SiteState(advertisement, secrets))
            return advertisement

    def share(self, keys: KeyList) -> EncryptedShares:
        """Return shares of the site's seeds, encrypted for each other site of a list of keys.

        Parameters
        ----------
        keys : tuple of KeyAdvertisement
            Keys of all sites that advertised some, by name.

        Raises
        ------
        SecureAggregationError
            ``SECAGG-STAGE``, ``SECAGG-STRANGER``, ``SECAGG-ATTEMPT``, ``SECAGG-SIGNATURE``, ``SECAGG-THRESHOLD``;
            ``SECAGG-KEYS`` also for another list than before.
        """
        with self._store.locked():
            state = self._load()
            if state.keys is not None and state.own_shares is not None:
                if state.keys != tuple(keys):
                    what = "the server sent a second, different list of keys in one attempt."
                    raise SecureAggregationError("SECAGG-KEYS", what, "Repeat the round as a new attempt.")
                return state.own_shares
            require_keys(tuple(keys), state.advertisement, self._attempt, self._roster)
            state.keys = tuple(keys)
            secrets = _require_secrets(state)
            own = seal_shares(self._attempt.digest, self._site, secrets, state.keys, self._roster)
            state.own_shares, state.held[self._site] = own
            self._save(state)
            return state.own_shares

    def mask(self, shares: Mapping[str, bytes], model: str, layout: VectorLayout, vector: ModularVector) -> MaskedInput:
        """Return the site's vector, masked; what was masked before under these masks, if something was.

        Parameters
        ----------
        shares : mapping of str to bytes
            What other sites encrypted for this one, by their names: with this site, these are the sites of the sum.
        model : str
            Digest of the model that the site received and trained.
        layout : VectorLayout
            Layout of the round.
        vector : ModularVector
            The update, encoded. It is masked in place: after an error it has to be encoded anew.

        Raises
        ------
        SecureAggregationError
            ``SECAGG-STAGE``, ``SECAGG-KEYS``, ``SECAGG-THRESHOLD``, ``SECAGG-SHARE``, ``SECAGG-LAYOUT``;
            ``SECAGG-MASK-USED`` for another model, layout or list of sites than before; ``SECAGG-ONE-SUM`` for a model of which
            the site helped to open a sum.
        """
        with self._store.locked():
            state = self._load()
            binding = self._bind(state, shares, model, layout)
            if state.binding is not None:
                if state.binding != binding:
                    what = "masks of this attempt were used for another model, layout or list of sites."
                    raise SecureAggregationError("SECAGG-MASK-USED", what, "Repeat the round as a new attempt.")
                return self._masked_again(state, binding)
            require_unopened(self._store, model)
            vector.require(layout)
            secrets = _require_secrets(state)
            state.held |= open_shares(self._attempt.digest, self._site, secrets, state.keys or (), shares)
            self._add_masks(vector, state, binding, secrets)
            state.binding, state.vector = binding, vector.digest()
            state.vector_sizes = (layout.bits, layout.size, len(layout.all_counters))
            self._store.save_vector(self._attempt.digest, vector.parts())
            self._save(state)
            return MaskedInput(self._attempt.digest, self._site, model, layout.digest, vector)

    def sign_survivors(self, survivors: Sequence[str]) -> SurvivorSignature:
        """Sign the survivors of the attempt, together with the model, the layout, the keys and the sharers.

        Parameters
        ----------
        survivors : sequence of str
            Sites whose masked vectors came, sorted.

        Raises
        ------
        SecureAggregationError
            ``SECAGG-STAGE``, ``SECAGG-SURVIVORS`` also for another list than before, ``SECAGG-THRESHOLD``, ``SECAGG-ONE-SUM``.
        """
        with self._store.locked():
            state = self._load()
            binding = _require_binding(state)
            if state.survivors is not None and state.signature is not None:
                if state.survivors != tuple(survivors):
                    raise survivors_error("the server sent a second, different list of survivors in one attempt.")
                return state.signature
            require_survivors(survivors, binding.sharers, self._site, self._roster, self._min_sites)
            require_unopened(self._store, binding.model)
            state.survivors = tuple(survivors)
            signature = sign(binding.survivors_text(survivors), self._key)
            state.signature = SurvivorSignature(self._attempt.digest, self._site, signature)
            self._save(state)
            return state.signature

    def unmask(self, survivors: Sequence[str], signatures: Mapping[str, bytes]) -> UnmaskingShares:
        """Give shares so that the sum of the survivors can be opened: once for a model, and for one list of survivors.

        Parameters
        ----------
        survivors : sequence of str
            The survivors that this site signed.
        signatures : mapping of str to bytes
            Signatures of survivors, by name.

        Raises
        ------
        SecureAggregationError
            ``SECAGG-STAGE``, ``SECAGG-SURVIVORS`` for another list than the site signed, ``SECAGG-SIGNATURE``,
            ``SECAGG-THRESHOLD``, ``SECAGG-ONE-SUM`` for a second sum of the model.
        """
        with self._store.locked():
            state = self._load()
            binding = _require_binding(state)
            if state.survivors is None:
                raise _stage_error("shares were asked for before the survivors were signed.")
            if state.survivors != tuple(survivors):
                raise survivors_error("shares were asked for another list of survivors than this site signed.")
            if state.released is not None:
                return state.released
            require_survivors(survivors, binding.sharers, self._site, self._roster, self._min_sites)
            require_signatures(signatures, binding.survivors_text(survivors), survivors, self._roster)
            record_release(self._store, binding.model, Release(self._attempt.digest, state.survivors))
            self_masks = {name: state.held[name][1] for name in state.survivors}
            mask_keys = {name: state.held[name][0] for name in binding.sharers if name not in state.survivors}
            state.released = UnmaskingShares(self._attempt.digest, self._site, self_masks, mask_keys)
            state.secrets, state.held = None, {}
            self._save(state)
            return state.released

    def _bind(self, state: SiteState, shares: Mapping[str, bytes], model: str, layout: VectorLayout) -> MaskBinding:
        if state.keys is None:
            raise _stage_error("a masked vector was asked for before seeds were shared.")
        if not is_digest(model) or layout.sites < len(self._roster.members):
            what = "the model has no digest, or the layout is for fewer sites than the roster has."
            raise SecureAggregationError("SECAGG-LAYOUT", what, "Both sides need the same version of medfl.")
        sharers = tuple(sorted({*shares, self._site}))
        self._roster.require(sharers)
        if not set(sharers) <= {key.site for key in state.keys} or self._site in shares:
            raise SecureAggregationError(
                "SECAGG-KEYS", "shares came of a site without keys in this attempt.", "Repeat the round as a new attempt."
            )
        require_enough(sharers, self._roster, self._min_sites)
        return MaskBinding(self._attempt.digest, model, layout.digest, digest_keys(state.keys), sharers)

    def _add_masks(self, vector: ModularVector, state: SiteState, binding: MaskBinding, secrets: AttemptSecrets) -> None:
        private = mask_private_key(secrets.mask_seed, self._attempt, self._site)
        binding.add_self_mask(vector, secrets.self_mask_seed, self._site)
        for key in state.keys or ():
            if key.site in binding.sharers and key.site != self._site:
                binding.add_pairwise_mask(vector, private, key.mask_key, (self._site, key.site))

    def _masked_again(self, state: SiteState, binding: MaskBinding) -> MaskedInput:
        content = self._store.load_vector(self._attempt.digest)
        try:
            vector = read_vector(content or b"", state.vector_sizes)
        except ValueError:
            raise damaged_state_error() from None
        if vector.digest() != state.vector:
            raise damaged_state_error()
        return MaskedInput(self._attempt.digest, self._site, binding.model, binding.layout, vector)

    def _load(self) -> SiteState:
        content = self._store.load(self._attempt.digest)
        if content is None:
            raise _stage_error("the site has no keys in this attempt.")
        return SiteState.from_json(content)

    def _save(self, state: SiteState) -> None:
        self._store.save(self._attempt.digest, state.to_json())


def _require_secrets(state: SiteState) -> AttemptSecrets:
    if state.secrets is None:
        raise _stage_error("the site has ended this attempt.")
    return state.secrets


def _require_binding(state: SiteState) -> MaskBinding:
    if state.binding is None:
        raise _stage_error("the survivors were named before this site sent a masked vector.")
    return state.binding


def _stage_error(what: str) -> SecureAggregationError:
    return SecureAggregationError("SECAGG-STAGE", what, "Repeat the round as a new attempt.")
