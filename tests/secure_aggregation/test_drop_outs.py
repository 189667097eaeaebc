"""Sites that drop out at every stage: the sum of those that stay to the masked vector, exact; below the threshold no sum."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from itertools import combinations, combinations_with_replacement, product

import pytest

from medfl.errors import SecureAggregationError
from medfl.secure_aggregation import MemoryStore
from tests.secure_aggregation.federation import STAGES, Federation, copy_store, names_of, same, sum_of

pytestmark = pytest.mark.usefixtures("computed_once")

AFTER_INPUT = ("signature", "unmasking")  # who drops out from here on is in the sum

_shared: dict[tuple[tuple[str, ...], bool, tuple[str, ...]], dict[str, MemoryStore]] = {}


def allowed_patterns(names: list[str], threshold: int) -> Iterator[dict[str, str]]:
    """Yield every way in which sites drop out so that enough stay."""
    for count in range(len(names) - threshold + 1):
        for leaving in combinations(names, count):
            for stages in product(STAGES, repeat=count):
                yield dict(zip(leaving, stages, strict=True))


def start(names: list[str], drops: Mapping[str, str], server_may_lie: bool) -> Federation:
    """Return a federation whose sites have shared their seeds before, with whom had keys then: the slow part of an attempt."""
    absent = tuple(name for name in names if drops.get(name) == "keys")
    key = (tuple(names), server_may_lie, absent)
    if key not in _shared:
        first = Federation(names, server_may_lie, drops=dict.fromkeys(absent, "keys"))
        first.exchange_shares()
        _shared[key] = first.stores  # type: ignore[assignment]
    stores = {name: copy_store(store) for name, store in _shared[key].items()}
    return Federation(names, server_may_lie, drops=drops, stores=stores)


def check(names: list[str], drops: Mapping[str, str], server_may_lie: bool) -> None:
    federation = start(names, drops, server_may_lie)
    total = federation.open_sum()
    summed = [name for name in names if drops.get(name, "unmasking") in AFTER_INPUT]
    assert list(federation.server.survivors) == summed
    assert same(total, sum_of(summed, federation.layout)), drops  # type: ignore[arg-type]


@pytest.mark.parametrize(("sites", "server_may_lie", "patterns"), [(3, True, 1), (4, True, 21), (4, False, 21), (5, True, 26)])
def test_every_pattern_that_the_threshold_allows(sites: int, server_may_lie: bool, patterns: int) -> None:
    names = names_of(sites)
    every = list(allowed_patterns(names, Federation(names, server_may_lie).roster.threshold))
    assert len(every) == patterns
    for drops in every:
        check(names, drops, server_may_lie)


@pytest.mark.long
def test_every_pattern_of_five_sites_of_which_three_must_stay() -> None:
    names = names_of(5)
    every = list(allowed_patterns(names, 3))
    assert len(every) == 1 + 5 * 5 + 10 * 25
    for drops in every:
        check(names, drops, server_may_lie=False)


def seeded_pattern(names: list[str], threshold: int, rng: random.Random) -> dict[str, str]:
    leaving = rng.sample(names, rng.randint(0, len(names) - threshold))
    return {name: rng.choice(STAGES) for name in leaving}


@pytest.mark.parametrize("seed", range(4))
def test_some_patterns_of_eight_sites(seed: int) -> None:
    rng, names = random.Random(seed), names_of(8)
    late = {name: rng.choice(STAGES[1:]) for name in seeded_pattern(names, 6, rng)}
    check(names, late, server_may_lie=True)


@pytest.mark.long
@pytest.mark.parametrize("server_may_lie", [True, False])
@pytest.mark.parametrize("sites", [8, 32])
def test_300_patterns(sites: int, server_may_lie: bool) -> None:
    rng, names = random.Random(sites), names_of(sites)
    threshold = Federation(names, server_may_lie).roster.threshold
    for _ in range(300 if sites == 8 or server_may_lie else 30):
        drops = seeded_pattern(names, threshold, rng)
        if sites == 32:  # each set of keys costs seconds of shares
            drops = {name: stage if stage != "keys" else "shares" for name, stage in drops.items()}
        check(names, drops, server_may_lie)


@pytest.mark.parametrize("stages", list(combinations_with_replacement(STAGES, 2)))
def test_below_the_threshold_there_is_no_sum_and_nothing_is_unmasked(stages: tuple[str, str]) -> None:
    names = names_of(4)
    drops = dict(zip(names, stages, strict=False))
    federation = Federation(names, drops=drops) if stages == ("keys", "keys") else start(names, drops, server_may_lie=True)
    with pytest.raises(SecureAggregationError, match=r"SECAGG-THRESHOLD.*missing: .*site-01"):
        federation.open_sum()
    if "unmasking" not in stages:
        assert not federation.released
    with pytest.raises(SecureAggregationError, match="SECAGG-STAGE"):
        federation.server.unmask()
