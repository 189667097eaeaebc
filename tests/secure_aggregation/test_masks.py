"""What the server sees: masked vectors that are uniform, whatever is in them."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy import stats

from medfl.secure_aggregation import ModularVector, VectorLayout, attempt_secrets
from tests.secure_aggregation.federation import Federation, names_of, same, small_layout, sum_of

SITES = names_of(4)
SIZE = 20_000
_CHANCE = 1e-6  # below it a p-value is no chance: the masks depend on signatures, which are drawn anew each time


@pytest.fixture(autouse=True)
def _seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the secrets of sites from a seed."""
    source = random.Random(3)
    monkeypatch.setattr(attempt_secrets.secrets, "token_bytes", source.randbytes)


def constant(value: dict[str, int]) -> object:
    def make(name: str, layout: VectorLayout) -> ModularVector:
        counters = np.full(len(layout.all_counters), value[name], np.uint64)
        return ModularVector(np.full(layout.size, value[name], layout.dtype), counters)

    return make


def view_of(values: dict[str, int], bits: int = 32) -> Federation:
    federation = Federation(SITES, layout=small_layout(4, bits, SIZE), vector=constant(values))  # type: ignore[arg-type]
    federation.exchange_inputs()
    return federation


def uniformity(vector: ModularVector) -> float:
    counts = np.bincount(np.frombuffer(vector.parameters.tobytes(), np.uint8), minlength=256)
    return float(stats.chisquare(counts).pvalue)


@pytest.mark.parametrize("bits", [16, 32])
def test_masked_vectors_and_sums_of_some_of_them_are_uniform(bits: int) -> None:
    masked = view_of(dict.fromkeys(SITES, 1), bits).masked
    for name in SITES:
        assert uniformity(masked[name]) > _CHANCE
    partial = ModularVector(masked[SITES[0]].parameters.copy(), masked[SITES[0]].counters.copy())
    for name in SITES[1:]:
        partial.add(masked[name])
        assert uniformity(partial) > _CHANCE  # the last is the sum of all, which the masks of sites themselves still cover


def test_the_test_of_uniformity_sees_what_is_not_masked() -> None:
    assert uniformity(constant({"a": 1})("a", small_layout(4, 32, SIZE))) < 1e-12  # type: ignore[operator]


def test_no_two_sample_test_tells_two_data_sets_of_equal_sum_apart() -> None:
    one, other = dict(zip(SITES, (1, 2, 3, 4), strict=True)), dict(zip(SITES, (4, 3, 2, 1), strict=True))
    first, second = view_of(one), view_of(other)
    for name in SITES:
        left, right = first.masked[name].parameters, second.masked[name].parameters
        assert stats.ks_2samp(left, right).pvalue > _CHANCE
        low_bits = [np.bincount(side & 15, minlength=16) for side in (left, right)]
        assert stats.chi2_contingency(low_bits).pvalue > _CHANCE
        bare = [constant(values)(name, first.layout).parameters for values in (one, other)]  # type: ignore[operator]
        assert stats.ks_2samp(*bare).pvalue < 1e-12  # which would tell them apart without masks


@pytest.mark.parametrize("bits", [16, 32])
def test_the_sum_of_all_is_opened_to_the_bit(bits: int) -> None:
    federation = Federation(SITES, layout=small_layout(4, bits, 1000))
    assert same(federation.open_sum(), sum_of(SITES, federation.layout))  # type: ignore[arg-type]


def test_a_masked_vector_is_as_long_as_the_model_at_4_or_2_bytes() -> None:
    for bits in (16, 32):
        vector = view_of(dict.fromkeys(SITES, 1), bits).masked[SITES[0]]
        assert sum(map(len, vector.parts())) == SIZE * bits // 8 + 3 * 8
