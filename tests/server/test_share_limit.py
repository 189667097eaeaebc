"""No hospital counts for more than a share of the weight, whatever it claims to have, and the record says what counted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfl.aggregate.float_parts import short_weight
from medfl.errors import ConfigError, QuorumError
from medfl.runs import checkpoint_files
from medfl.server.share_limit import can_hold, find_limit
from medfl.study.algorithms import ALGORITHMS, WEIGHT_ALGORITHMS
from medfl.testing.sites import make_study
from tests.server.counted_sites import Federation

LIAR = 4  # the node of cadiz, which claims most of the patients


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def federation(tmp_path: Path) -> Callable[..., Federation]:
    def build(patients: tuple[int, ...] = (10, 20, 970), **changes: Any) -> Federation:
        run = Federation(tmp_path, rounds=1, **changes)
        for site, count in zip(run.sites.values(), patients, strict=True):
            site.told = site.patients = count
        return run

    return build


@pytest.mark.parametrize(
    ("share", "sizes", "weights"),
    [
        (0.5, [10, 20, 970], [10, 20, 30]),  # half: as much as the two others together
        (0.4, [90, 90, 900], [90, 90, 120]),  # 120 of 300
        (0.375, [20, 40, 500, 900], [20, 40, 90, 90]),  # two of them: 90 of 240
        (0.5, [30, 30, 30], [30, 30, 30]),  # nobody is above it
        (0.25, [1, 2, 3], [1, 1, 1]),  # three cannot keep to a quarter
        (1 / 3, [5, 7, 9], [5, 5, 5]),  # three can keep to a third in one way
    ],
)
def test_weights_are_those_that_were_computed_by_hand(share: float, sizes: list[int], weights: list[int]) -> None:
    limit = find_limit(share, sizes)
    assert [min(size, limit) for size in sizes] == pytest.approx(weights, rel=1e-8)


@given(sizes=st.lists(st.integers(1, 10**7), min_size=1, max_size=30), share=st.floats(0.02, 0.99), data=st.data())
def test_no_site_has_more_than_the_share_where_that_can_be_and_the_order_does_not_matter(
    sizes: list[int], share: float, data: st.DataObject
) -> None:
    limit = find_limit(share, sizes)
    assert find_limit(share, data.draw(st.permutations(sizes))) == limit > 0
    assert short_weight(limit) == limit  # so that the mean does not round it
    weights = [min(size, limit) for size in sizes]
    if can_hold(share, len(sizes)):
        assert max(weights) <= share * sum(weights) * (1 + 1e-8)
        if max(sizes) > limit:  # and no more is taken from a site than must be
            assert max(weights) >= share * sum(weights) * (1 - 1e-6)
    else:
        assert len(set(weights)) == 1


def test_a_site_that_claims_most_of_the_patients_counts_for_the_share_alone(federation: Callable[..., Federation]) -> None:
    run = federation(strategy__max_share=0.5)
    run.conduct()
    (record,) = (event for event in run.events() if event["event"] == "round")
    sites = {site: (entry["status"], entry["weight"], entry["share"]) for site, entry in record["sites"].items()}
    assert sites == {"aachen": ("ok", 10, 1 / 6), "bergen": ("ok", 20, 1 / 3), "cadiz": ("ok", 30, 1 / 2)}
    assert record["sites"]["cadiz"]["metrics"]["train.patients"] == 970  # what it claims stays to be read
    assert _trained(run) == pytest.approx((10 * 1 + 20 * 2 + 30 * 4) / 60)


def test_without_the_key_the_claim_counts(federation: Callable[..., Federation]) -> None:
    run = federation()
    run.conduct()
    assert _trained(run) == pytest.approx((10 * 1 + 20 * 2 + 970 * 4) / 1000)


@pytest.mark.parametrize("weights", ["samples", "equal"])
def test_the_limit_is_of_what_the_study_weighs_by(weights: str, federation: Callable[..., Federation]) -> None:
    run = federation(strategy__max_share=0.5, strategy__weights=weights)
    run.conduct()
    assert _trained(run) == pytest.approx({"samples": 170 / 60, "equal": 7 / 3}[weights])


def test_a_number_that_a_policy_hides_counts_as_the_largest_that_it_can_be(federation: Callable[..., Federation]) -> None:
    run = federation((10, 10, 970), strategy__max_share=0.5)
    run.sites[2].told = -11  # fewer than 11
    run.conduct()
    assert _trained(run) == pytest.approx((10 * 1 + 10 * 2 + 20 * 4) / 40)


def test_a_run_of_too_few_sites_for_the_share_does_not_begin(federation: Callable[..., Federation]) -> None:
    run = federation(strategy__max_share=0.4)
    with pytest.raises(QuorumError, match=r"asks 2 sites.*larger share than 0.4.*strategy.max-share"):
        run.conduct(away=[LIAR])
    assert not [event for event in run.events() if event["event"] == "round"]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_strategy_in_which_it_would_bound_nothing_refuses_it(name: str) -> None:
    optimizer = {"name": "sgd"}
    if name in WEIGHT_ALGORITHMS:
        make_study(strategy={"name": name, "max-share": 0.5}, optimizer=optimizer)
        return
    with pytest.raises(ConfigError, match=r"strategy.max-share: with .* does not count by its weight alone"):
        make_study(strategy={"name": name, "max-share": 0.5}, optimizer=optimizer)


def test_it_is_refused_where_every_site_trains_alone_and_for_a_strategy_of_another_package() -> None:
    with pytest.raises(ConfigError, match=r"strategy.max-share: in the arm 'local'"):
        make_study(arms="local", strategy={"max-share": 0.5})
    with pytest.raises(ConfigError, match=r"strategy.max-share: with 'gentle'"):
        make_study(strategy={"name": "gentle", "max-share": 0.5})


def test_a_study_that_does_not_use_it_keeps_its_hash() -> None:
    assert make_study(strategy={"max-share": 1.0}).approved_hash() == make_study().approved_hash()
    assert "max_share" not in make_study().model_dump()["strategy"]
    assert make_study(strategy={"max-share": 0.5}).approved_hash() != make_study().approved_hash()


def _trained(run: Federation) -> float:
    """Return by how much a round changed the model, which was zero."""
    folder = Path(str(run.config["server.out"])) / run.study.name / "run"
    arrays = checkpoint_files.load(folder, "final").arrays
    return float(np.mean(arrays["conv.weight"]))
