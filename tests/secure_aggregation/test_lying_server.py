"""A server that deviates from the protocol: each lie is refused by a hospital, with a code. More in test_layers.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from medfl.errors import SecureAggregationError
from medfl.secure_aggregation import TensorLayout
from medfl.secure_aggregation.signing import sign
from tests.secure_aggregation.federation import (
    MODEL,
    OTHER_MODEL,
    Federation,
    enrolled_key,
    names_of,
    small_layout,
    vector_of,
)

pytestmark = pytest.mark.usefixtures("computed_once")

FOUR, FIVE = names_of(4), names_of(5)
VICTIM = FIVE[0]


def refused(code: str) -> pytest.RaisesExc[SecureAggregationError]:
    return pytest.raises(SecureAggregationError, match=rf"\[{code}\]")


def test_a_replayed_round_is_refused() -> None:
    old = Federation(FOUR)
    keys = old.exchange_keys()
    new = Federation(FOUR, stores=old.stores, fields={"round": 2})
    fresh = new.exchange_keys()
    with refused("SECAGG-ATTEMPT"):
        new.sites[VICTIM].share((fresh[0], *keys[1:]))
    renamed = tuple(replace(key, attempt=new.attempt.digest) for key in keys[1:])  # as if they were of this round
    with refused("SECAGG-SIGNATURE"):
        new.sites[VICTIM].share((fresh[0], *renamed))


@pytest.mark.parametrize("change", ["own left out", "own replaced", "twice", "unsorted", "other's key taken"])
def test_a_list_of_keys_that_is_not_what_sites_advertised_is_refused(change: str) -> None:
    federation = Federation(FIVE)
    keys = federation.exchange_keys()
    lists = {
        "own left out": keys[1:],
        "own replaced": (replace(keys[0], mask_key=keys[1].mask_key), *keys[1:]),
        "twice": (*keys[:2], *keys[1:]),
        "unsorted": keys[::-1],
        "other's key taken": (*keys[:4], replace(keys[4], mask_key=bytes(31))),
    }
    with refused("SECAGG-SIGNATURE" if change == "own replaced" else "SECAGG-KEYS"):
        federation.sites[VICTIM].share(lists[change])


def test_a_key_with_which_every_secret_is_the_same_is_refused() -> None:
    """A hospital that is on the server's side signs such a key itself."""
    federation = Federation(FOUR)
    keys = list(federation.exchange_keys())
    weak = replace(keys[1], cipher_key=bytes(32))
    keys[1] = replace(weak, signature=sign(weak.text(federation.attempt), enrolled_key(FOUR[1])))
    with refused("SECAGG-KEYS"):
        federation.sites[VICTIM].share(tuple(keys))


def test_a_second_list_of_keys_is_refused() -> None:
    federation = Federation(FIVE)
    keys = federation.exchange_keys()
    federation.sites[VICTIM].share(keys)
    with refused("SECAGG-KEYS"):
        federation.sites[VICTIM].share(keys[:4])


def test_sites_that_were_sent_different_lists_of_keys_cannot_read_each_others_shares() -> None:
    federation = Federation(FIVE)
    keys = federation.exchange_keys()
    others = {name: federation.sites[name].share(keys[:4]) for name in FIVE[1:4]}
    federation.sites[VICTIM].share(keys)
    with refused("SECAGG-SHARE"):
        federation.deliveries[VICTIM] = {name: others[name].shares[VICTIM] for name in others}
        federation.send_input(VICTIM)


@pytest.mark.parametrize("change", ["flipped", "for another site", "of another sender", "cut", "empty"])
def test_a_share_that_was_changed_or_sent_elsewhere_is_refused(change: str) -> None:
    federation = Federation(FOUR)
    shares = federation.exchange_shares()[VICTIM]
    one = shares[FOUR[1]]
    shares[FOUR[1]] = {
        "flipped": one[:-1] + bytes([one[-1] ^ 1]),
        "for another site": federation.deliveries[FOUR[2]][FOUR[1]],
        "of another sender": shares[FOUR[2]],
        "cut": one[:-1],
        "empty": b"",
    }[change]
    with refused("SECAGG-SHARE"):
        federation.send_input(VICTIM)


@pytest.mark.parametrize("sharers", [FOUR[1:3], FOUR[1:2], []])
def test_a_sum_of_fewer_sites_than_the_threshold_is_not_masked_for(sharers: list[str]) -> None:
    federation = Federation(FIVE)
    federation.exchange_shares()
    federation.deliveries[VICTIM] = {name: federation.deliveries[VICTIM][name] for name in sharers}
    with refused("SECAGG-THRESHOLD"):
        federation.send_input(VICTIM)


def test_shares_of_a_stranger_or_of_oneself_are_refused() -> None:
    federation = Federation(FOUR)
    shares = federation.exchange_shares()[VICTIM]
    for name, code in (("stranger", "SECAGG-STRANGER"), (VICTIM, "SECAGG-KEYS")):
        federation.deliveries[VICTIM] = {**shares, name: shares[FOUR[1]]}
        with refused(code):
            federation.send_input(VICTIM)


def test_two_models_in_one_attempt_are_refused() -> None:
    federation = Federation(FOUR)
    federation.exchange_inputs()
    with refused("SECAGG-MASK-USED"):
        federation.send_input(VICTIM, OTHER_MODEL)


def test_another_layout_or_another_list_of_sites_under_the_same_masks_is_refused() -> None:
    federation = Federation(FIVE)
    federation.exchange_inputs()
    shares, layout = federation.deliveries[VICTIM], federation.layout
    assert layout is not None
    wider = replace(layout, tensors=(TensorLayout("w", (5,), 100.0),))
    fewer = {name: shares[name] for name in FIVE[1:4]}
    for sent, other in ((shares, wider), (fewer, layout)):
        with refused("SECAGG-MASK-USED"):
            federation.sites[VICTIM].mask(sent, MODEL, other, vector_of(VICTIM, other))


def test_a_layout_whose_sum_could_wrap_and_a_vector_of_another_size_are_refused() -> None:
    federation = Federation(FIVE)
    shares = federation.exchange_shares()[VICTIM]
    few, layout = small_layout(4), federation.layout
    assert layout is not None
    for promised, sent in ((few, few), (layout, small_layout(5, size=6)), (layout, small_layout(5, bits=16))):
        with refused("SECAGG-LAYOUT"):
            federation.sites[VICTIM].mask(shares, MODEL, promised, vector_of(VICTIM, sent))
    with refused("SECAGG-LAYOUT"):
        federation.sites[VICTIM].mask(shares, "../../a path", layout, vector_of(VICTIM, layout))


@pytest.mark.parametrize(
    ("survivors", "code"),
    [
        (FIVE[:3], "SECAGG-THRESHOLD"),
        (FIVE[1:], "SECAGG-SURVIVORS"),  # without this site, whose shares would open the others' sum
        ([*FIVE, "stranger"], "SECAGG-SURVIVORS"),
        ([FIVE[0], FIVE[0], FIVE[1], FIVE[2]], "SECAGG-SURVIVORS"),
        (FIVE[::-1], "SECAGG-SURVIVORS"),
        ([], "SECAGG-SURVIVORS"),
    ],
)
def test_a_list_of_survivors_below_the_threshold_or_of_others_is_not_signed(survivors: Sequence[str], code: str) -> None:
    federation = Federation(FIVE)
    federation.exchange_inputs()
    with refused(code):
        federation.sites[VICTIM].sign_survivors(survivors)


def test_a_second_list_of_survivors_is_not_signed() -> None:
    federation = Federation(FIVE)
    federation.exchange_signatures()
    with refused("SECAGG-SURVIVORS"):
        federation.sites[VICTIM].sign_survivors(FIVE[:4])


def test_both_shares_of_one_site_are_never_given() -> None:
    """A site that dropped out for one list and survived in another would be opened whole."""
    federation = Federation(FIVE, drops={FIVE[4]: "input"})
    federation.open_sum()
    given = federation.released[VICTIM]
    assert (set(given.self_masks), set(given.mask_keys)) == (set(FIVE[:4]), {FIVE[4]})
    signatures = {name: federation.sites[name].sign_survivors(FIVE[:4]).signature for name in FIVE[:4]}
    for survivors in (FIVE, FIVE[:3], [*FIVE[:3], FIVE[4]]):
        with refused("SECAGG-SURVIVORS"):
            federation.sites[VICTIM].unmask(survivors, signatures)
    assert federation.sites[VICTIM].unmask(FIVE[:4], {}) == given  # what was given is given again, and no more


def test_nothing_is_unmasked_before_the_survivors_were_signed_nor_without_signatures() -> None:
    federation = Federation(FOUR)
    federation.exchange_inputs()
    with refused("SECAGG-STAGE"):
        federation.sites[VICTIM].unmask(FOUR, {})
    own = federation.sites[VICTIM].sign_survivors(FOUR).signature
    for signatures, code in (
        ({}, "SECAGG-THRESHOLD"),
        ({VICTIM: own}, "SECAGG-THRESHOLD"),
        (dict.fromkeys(FOUR, own), "SECAGG-SIGNATURE"),
        ({VICTIM: own, "stranger": own}, "SECAGG-STRANGER"),
    ):
        with refused(code):
            federation.sites[VICTIM].unmask(FOUR, signatures)


def test_signatures_of_a_site_that_is_no_survivor_do_not_count() -> None:
    federation = Federation(FIVE, drops={FIVE[4]: "input"})
    signatures = federation.exchange_signatures()
    with refused("SECAGG-SURVIVORS"):
        federation.sites[VICTIM].unmask(FIVE[:4], {**signatures, FIVE[4]: signatures[VICTIM]})


def test_steps_out_of_turn_are_refused() -> None:
    federation = Federation(FOUR)
    site = federation.sites[VICTIM]
    layout = federation.layout
    assert layout is not None
    keys = tuple(federation.sites[name].advertise() for name in FOUR[1:])
    with refused("SECAGG-STAGE"):
        site.share(keys)
    site.advertise()
    with refused("SECAGG-STAGE"):
        site.mask({}, MODEL, layout, vector_of(VICTIM, layout))
    with refused("SECAGG-STAGE"):
        site.sign_survivors(FOUR)
