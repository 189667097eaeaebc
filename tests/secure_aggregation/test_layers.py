"""One test for each layer of the protection: without that layer it fails, whatever the others do.

An attack is what a server could do with everything that it received, with the library's own functions.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from medfl.errors import SecureAggregationError
from medfl.secure_aggregation import Member, ModularVector, Roster, SiteAttempt, site_checks
from medfl.secure_aggregation.attempt_secrets import AttemptSecrets, mask_private_key, self_mask_commitment
from medfl.secure_aggregation.masks import MaskBinding
from medfl.secure_aggregation.messages import KeyAdvertisement, digest_keys
from medfl.secure_aggregation.roster import threshold_of
from medfl.secure_aggregation.seed_shares import combine_shares
from medfl.secure_aggregation.signing import sign
from medfl.secure_aggregation.site_state import SiteState
from tests.secure_aggregation.federation import (
    MODEL,
    OTHER_MODEL,
    Federation,
    enrolled_key,
    make_roster,
    names_of,
    public_text,
    same,
    vector_of,
)

FOUR, FIVE = names_of(4), names_of(5)
VICTIM = FIVE[0]


def copy_of(vector: ModularVector) -> ModularVector:
    return ModularVector(vector.parameters.copy(), vector.counters.copy())


def binding_of(federation: Federation, model: str = MODEL) -> MaskBinding:
    sharers = tuple(sorted(federation.deliveries))
    keys = tuple(federation.sites[name].advertise() for name in sharers)
    return MaskBinding(federation.attempt.digest, model, federation.layout.digest, digest_keys(keys), sharers)  # type: ignore[union-attr]


def seed_of(federation: Federation, name: str, kind: str) -> bytes:
    """Return a seed that the shares give which the server received."""
    shares = {federation.roster.position(giver): getattr(given, kind)[name] for giver, given in federation.released.items()}
    return combine_shares(shares, federation.roster.threshold)


def secrets_of(federation: Federation, name: str) -> AttemptSecrets:
    content = federation.stores[name].load(federation.attempt.digest)  # type: ignore[index]
    secrets = SiteState.from_json(content or b"").secrets
    assert secrets is not None
    return secrets


def test_self_mask_hides_a_vector_that_comes_after_its_pairwise_masks_were_opened() -> None:
    federation = Federation(FIVE, drops={VICTIM: "input"})
    federation.open_sum()
    late = copy_of(federation.send_input(VICTIM).vector)
    private = mask_private_key(seed_of(federation, VICTIM, "mask_keys"), federation.attempt, VICTIM)
    for name in FIVE[1:]:
        other = federation.sites[name].advertise().mask_key
        binding_of(federation).add_pairwise_mask(late, private, other, (VICTIM, name), sign=-1)
    assert not same(late, vector_of(VICTIM, federation.layout))  # type: ignore[arg-type]


def test_pairwise_masks_hide_a_survivor_whose_self_mask_was_opened() -> None:
    federation = Federation(FIVE)
    federation.open_sum()
    view = copy_of(federation.masked[VICTIM])
    binding_of(federation).add_self_mask(view, seed_of(federation, VICTIM, "self_masks"), VICTIM, sign=-1)
    assert not same(view, vector_of(VICTIM, federation.layout))  # type: ignore[arg-type]


@pytest.mark.parametrize("forge", ["", "other key", "other attempt", "cut"])
def test_signature_keeps_out_keys_that_the_site_did_not_make(forge: str) -> None:
    """A server that puts its own keys in the place of a site's could open every mask with it."""
    federation = Federation(FOUR)
    keys = list(federation.exchange_keys())
    forged = replace(keys[1], cipher_key=bytes(range(32)), mask_key=bytes(range(1, 33)))
    signatures = {
        "": b"",
        "other key": sign(forged.text(federation.attempt), ec.generate_private_key(ec.SECP384R1())),
        "other attempt": sign(forged.text(replace(federation.attempt, number=2)), enrolled_key(FOUR[1])),
        "cut": sign(forged.text(federation.attempt), enrolled_key(FOUR[1]))[:-1],
    }
    keys[1] = replace(forged, signature=signatures[forge])
    with pytest.raises(SecureAggregationError, match="SECAGG-SIGNATURE"):
        federation.sites[VICTIM].share(tuple(keys))


def test_roster_keeps_out_a_site_that_the_server_invented() -> None:
    federation = Federation(FOUR)
    keys = federation.exchange_keys()
    key, about = enrolled_key("stranger"), federation.attempt
    unsigned = KeyAdvertisement(about.digest, "stranger", bytes(range(32)), bytes(range(1, 33)), bytes(32))
    stranger = replace(unsigned, signature=sign(unsigned.text(about), key))
    with pytest.raises(SecureAggregationError, match="SECAGG-STRANGER"):
        federation.sites[VICTIM].share((*keys, stranger))


def test_roster_is_the_one_that_the_hospital_approved() -> None:
    federation = Federation(FOUR)
    others = (*federation.roster.members[:3], Member("invented", public_text(enrolled_key("stranger"))))
    about = replace(federation.attempt, roster=Roster(others).digest)
    with pytest.raises(SecureAggregationError, match="SECAGG-ROSTER"):
        SiteAttempt(about, federation.roster, VICTIM, enrolled_key(VICTIM), federation.stores[VICTIM])  # type: ignore[index]


def test_consistency_keeps_two_lists_of_survivors_from_being_opened() -> None:
    """Shown to different sites, two lists would give both seeds of the one that is in the first list alone."""
    federation = Federation(FIVE)
    federation.exchange_inputs()
    with_victim, without = tuple(FIVE), tuple(FIVE[1:])
    first = {name: federation.sites[name].sign_survivors(with_victim).signature for name in FIVE[:3]}
    second = {name: federation.sites[name].sign_survivors(without).signature for name in FIVE[3:]}
    for name, survivors in [(FIVE[1], with_victim), (FIVE[4], without)]:
        with pytest.raises(SecureAggregationError, match="SECAGG-SIGNATURE"):
            federation.sites[name].unmask(survivors, {n: s for n, s in (first | second).items() if n in survivors})


def test_consistency_needs_enough_signatures() -> None:
    federation = Federation(FIVE)
    signatures = federation.exchange_signatures()
    few = {name: signatures[name] for name in FIVE[:3]}
    with pytest.raises(SecureAggregationError, match="SECAGG-THRESHOLD"):
        federation.sites[VICTIM].unmask(federation.server.survivors, few)


def test_freshness_what_was_opened_in_one_attempt_opens_nothing_in_the_next() -> None:
    first = Federation(FIVE, drops={VICTIM: "input"})
    first.open_sum()
    second = Federation(FIVE, stores=first.stores, model=OTHER_MODEL, fields={"number": 2})
    second.exchange_inputs()
    for kind in ("cipher_key", "mask_key", "commitment"):
        assert getattr(first.sites[VICTIM].advertise(), kind) != getattr(second.sites[VICTIM].advertise(), kind)
    opened = mask_private_key(seed_of(first, VICTIM, "mask_keys"), second.attempt, VICTIM)
    pair, other = (VICTIM, FIVE[1]), second.sites[FIVE[1]].advertise().mask_key
    derived, real = (ModularVector(np.zeros(5, np.uint32), np.zeros(3, np.uint64)) for _ in range(2))
    binding_of(second, OTHER_MODEL).add_pairwise_mask(derived, opened, other, pair)
    own = mask_private_key(secrets_of(second, VICTIM).mask_seed, second.attempt, VICTIM)
    binding_of(second, OTHER_MODEL).add_pairwise_mask(real, own, other, pair)
    assert not same(derived, real)


def test_freshness_the_seeds_of_two_attempts_are_not_the_same() -> None:
    first = Federation(FOUR)
    first.exchange_keys()
    second = Federation(FOUR, stores=first.stores, fields={"number": 2})
    second.exchange_keys()
    seeds = [
        seed
        for federation in (first, second)
        for name in FOUR
        for seed in (secrets_of(federation, name).mask_seed, secrets_of(federation, name).self_mask_seed)
    ]
    assert len(set(seeds)) == 2 * 2 * len(FOUR)


def test_freshness_a_seed_gives_other_keys_in_another_attempt() -> None:
    one = Federation(FOUR).attempt
    other, seed = replace(one, number=2), bytes(range(16))
    assert mask_private_key(seed, one, VICTIM) != mask_private_key(seed, other, VICTIM)
    assert self_mask_commitment(seed, one, VICTIM) != self_mask_commitment(seed, other, VICTIM)


def test_one_sum_a_second_one_of_the_same_model_is_refused() -> None:
    """The sum of all four, and that of three of them, would differ by one hospital's update."""
    first = Federation(FOUR)
    first.open_sum()
    second = Federation(FOUR, stores=first.stores, fields={"number": 2})
    second.exchange_shares()
    with pytest.raises(SecureAggregationError, match="SECAGG-ONE-SUM"):
        second.send_input(FOUR[1])


def test_three_survivors_are_the_fewest_of_any_sum() -> None:
    assert min(threshold_of(sites, may_lie) for sites in range(3, 33) for may_lie in (True, False)) == 3
    federation = Federation(FOUR[:3], server_may_lie=False)
    federation.exchange_inputs()
    with pytest.raises(SecureAggregationError, match="SECAGG-THRESHOLD"):
        federation.sites[VICTIM].sign_survivors(FOUR[:2])


def test_three_survivors_are_needed_even_where_a_threshold_would_say_two(monkeypatch: pytest.MonkeyPatch) -> None:
    roster = make_roster(FOUR[:3], server_may_lie=False)
    monkeypatch.setattr(Roster, "threshold", 2)
    with pytest.raises(SecureAggregationError, match="SECAGG-THRESHOLD"):
        site_checks.require_survivors(FOUR[:2], FOUR[:3], VICTIM, roster, min_sites=1)


def test_policy_of_a_site_may_ask_for_more_survivors() -> None:
    federation = Federation(FIVE, drops={FIVE[4]: "input"})
    federation.exchange_inputs()
    site = SiteAttempt(
        federation.attempt, federation.roster, VICTIM, enrolled_key(VICTIM), federation.stores[VICTIM], min_sites=5
    )  # type: ignore[index]
    with pytest.raises(SecureAggregationError, match="SECAGG-THRESHOLD"):
        site.sign_survivors(FIVE[:4])


def test_model_a_site_that_was_sent_another_one_is_in_no_sum() -> None:
    """Pasquini et al. 2022: the others' updates of a crafted model would be nought, and the sum the victim's own."""
    federation = Federation(FOUR)
    federation.exchange_shares()
    masked = {name: copy_of(federation.send_input(name, OTHER_MODEL if name == VICTIM else MODEL).vector) for name in FOUR}
    signed = {name: federation.sites[name].sign_survivors(FOUR).signature for name in FOUR}
    for name in FOUR:
        with pytest.raises(SecureAggregationError, match="SECAGG-SIGNATURE"):
            federation.sites[name].unmask(FOUR, signed)
    total = masked[VICTIM]  # and even with every seed in its hands:
    for name in FOUR[1:]:
        total.add(masked[name])
    for name in FOUR:
        binding = binding_of(federation, OTHER_MODEL if name == VICTIM else MODEL)
        binding.add_self_mask(total, secrets_of(federation, name).self_mask_seed, name, sign=-1)
    expected = copy_of(vector_of(VICTIM, federation.layout))  # type: ignore[arg-type]
    for name in FOUR[1:]:
        expected.add(vector_of(name, federation.layout))  # type: ignore[arg-type]
    assert not same(total, expected)
