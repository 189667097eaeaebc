"""The server of the protocol: late, doubled and foreign messages are left out, and shares are held against promises."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from medfl.errors import SecureAggregationError
from medfl.secure_aggregation import (
    ModularVector,
    TensorLayout,
    VectorLayout,
    decode_sum,
    encode_update,
    quantisation_error_bounds,
)
from medfl.secure_aggregation.messages import EncryptedShares, MaskedInput
from tests.secure_aggregation.federation import MODEL, OTHER_MODEL, Federation, names_of, same, small_layout, sum_of, vector_of

pytestmark = pytest.mark.usefixtures("computed_once")

FOUR, FIVE = names_of(4), names_of(5)


def refused(code: str) -> pytest.RaisesExc[SecureAggregationError]:
    return pytest.raises(SecureAggregationError, match=rf"\[{code}\]")


def test_a_late_vector_is_in_no_sum() -> None:
    federation = Federation(FIVE, drops={FIVE[4]: "input"})
    signatures = federation.exchange_signatures()
    with refused("SECAGG-STAGE"):
        federation.server.add_masked_input(federation.send_input(FIVE[4]))
    for name in FIVE[:4]:
        federation.server.add_unmasking_shares(federation.sites[name].unmask(FIVE[:4], signatures))
    assert same(federation.server.unmask(), sum_of(FIVE[:4], federation.layout))  # type: ignore[arg-type]


def test_a_vector_that_comes_twice_counts_once() -> None:
    federation = Federation(FOUR)
    federation.exchange_shares()
    for name in FOUR:
        federation.server.add_masked_input(federation.send_input(name))
        with refused("SECAGG-STAGE"):
            federation.server.add_masked_input(federation.send_input(name))
    assert federation.server.list_survivors() == tuple(FOUR)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"attempt": "0" * 64}, "SECAGG-ATTEMPT"),
        ({"site": "stranger"}, "SECAGG-STRANGER"),
        ({"model": OTHER_MODEL}, "SECAGG-MODEL"),
        ({"layout": "0" * 64}, "SECAGG-MODEL"),
        ({"vector": vector_of("x", small_layout(4, size=4))}, "SECAGG-LAYOUT"),
        ({"vector": vector_of("x", small_layout(4, bits=16))}, "SECAGG-LAYOUT"),
        ({"vector": ModularVector(np.zeros(5, np.uint32), np.zeros(4, np.uint64))}, "SECAGG-LAYOUT"),
    ],
)
def test_a_vector_of_another_attempt_model_or_size_is_left_out(change: dict[str, Any], code: str) -> None:
    federation = Federation(FOUR)
    federation.exchange_shares()
    masked: MaskedInput = federation.send_input(FOUR[0])
    with refused(code):
        federation.server.add_masked_input(replace(masked, **change))
    assert federation.server.survivors == ()


def test_shares_for_some_sites_alone_are_left_out() -> None:
    federation = Federation(FOUR)
    keys = federation.exchange_keys()
    shares = federation.sites[FOUR[0]].share(keys)
    some = {name: sealed for name, sealed in shares.shares.items() if name != FOUR[3]}
    with refused("SECAGG-SHARE"):
        federation.server.add_shares(EncryptedShares(shares.attempt, shares.site, some))


def test_a_signature_of_another_list_is_left_out() -> None:
    federation = Federation(FIVE)
    federation.exchange_inputs()
    signed = federation.sites[FIVE[0]].sign_survivors(FIVE[:4])
    with refused("SECAGG-SIGNATURE"):
        federation.server.add_signature(signed)


@pytest.mark.parametrize("kind", ["self_masks", "mask_keys"])
@pytest.mark.parametrize("bad", [bytes(16), b"", b"short"])
def test_shares_that_do_not_give_what_was_promised_are_found_and_the_site_is_named(kind: str, bad: bytes) -> None:
    federation = Federation(FIVE, drops={FIVE[4]: "input"})
    signatures = federation.exchange_signatures()
    named = {"self_masks": FIVE[2], "mask_keys": FIVE[4]}[kind]
    for name in FIVE[:4]:
        given = federation.sites[name].unmask(FIVE[:4], signatures)
        if name == FIVE[0]:
            given = replace(given, **{kind: {**getattr(given, kind), named: bad}})  # type: ignore[arg-type]
        federation.server.add_unmasking_shares(given)
    with pytest.raises(SecureAggregationError, match=f"SECAGG-RECONSTRUCTION.*{named}"):
        federation.server.unmask()


@pytest.mark.parametrize("change", [{"self_masks": {}}, {"mask_keys": {FIVE[0]: bytes(16)}}])
def test_shares_of_other_sites_than_were_asked_for_are_left_out(change: dict[str, Any]) -> None:
    federation = Federation(FOUR)
    signatures = federation.exchange_signatures()
    given = federation.sites[FOUR[0]].unmask(FOUR, signatures)
    with refused("SECAGG-SHARE"):
        federation.server.add_unmasking_shares(replace(given, **change))


@pytest.mark.parametrize(("sites", "bits"), [(3, 32), (8, 32), (8, 16), pytest.param(32, 32, marks=pytest.mark.long)])
def test_the_mean_of_real_updates_comes_out_to_the_quantisation(sites: int, bits: int) -> None:
    names, rng = names_of(sites), np.random.default_rng(sites)
    updates = {name: {"w": rng.uniform(-1, 1, (50, 2)).astype(np.float32)} for name in names}
    weights = {name: int(rng.integers(1, 101)) for name in names}
    layout = VectorLayout((TensorLayout("w", (50, 2), 1.0),), bits, sites, 100, ("images",))

    def encode(name: str, layout: VectorLayout) -> ModularVector:
        return encode_update(layout, updates[name], weights[name], {"images": 7}, name.encode(), federation.attempt)

    federation = Federation(names, layout=layout, vector=encode, drops={names[1]: "input"} if sites > 3 else {})
    total = federation.open_sum()
    survivors = federation.server.survivors
    result = decode_sum(layout, total, len(survivors), np.float64)
    weight = sum(weights[name] for name in survivors)
    assert (result.weight, result.clipped, result.counters) == (weight, 0, {"images": 7 * len(survivors)})
    exact = sum(weights[name] * updates[name]["w"].astype(np.float64) for name in survivors) / weight
    assert np.abs(result.mean["w"] - exact).max() <= quantisation_error_bounds(layout, len(survivors), weight)["w"]


def test_a_sum_in_which_a_mask_is_left_is_refused() -> None:
    federation = Federation(FOUR)
    federation.exchange_inputs()
    with refused("SECAGG-SUM"):
        decode_sum(federation.layout, federation.masked[FOUR[0]], 1)  # type: ignore[arg-type]


def test_a_stage_is_ended_once_and_in_turn() -> None:
    federation = Federation(FOUR)
    federation.exchange_keys()
    with refused("SECAGG-STAGE"):
        federation.server.list_keys()
    with refused("SECAGG-STAGE"):
        federation.server.list_survivors()
    with refused("SECAGG-THRESHOLD"):
        federation.server.distribute_shares(MODEL, small_layout(4))
    with refused("SECAGG-STAGE"):  # an attempt that failed is over
        federation.server.add_shares(federation.sites[FOUR[0]].share(federation.keys))
