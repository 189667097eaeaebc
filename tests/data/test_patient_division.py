"""Patients are divided among simulated hospitals by themselves alone: no image is read, and each is at one hospital."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfl.data.patient_division import MIN_DRAWN, UNKNOWN, apportion, divide_patients
from medfl.errors import DataError
from medfl.study import Simulation

TWO_CLASSES = {f"p{n}": int(n % 4 == 0) for n in range(400)}  # 300 negative, 100 positive


def divided(classes: Mapping[str, int] = TWO_CLASSES, seed: int = 1, **settings: Any) -> dict[str, int]:
    return divide_patients(classes, Simulation(**settings), seed)


def counts(division: Mapping[str, int], classes: Mapping[str, int] = TWO_CLASSES) -> dict[int, list[int]]:
    """Return the patients of each class at each hospital."""
    found = Counter((site, classes[patient]) for patient, site in division.items())
    sites = range(max(division.values()) + 1)
    return {site: [found[site, value] for value in sorted(set(classes.values()))] for site in sites}


@given(
    labels=st.lists(st.integers(UNKNOWN, 2), min_size=2, max_size=80),
    settings=st.sampled_from(
        [
            {"partition": "label-skew", "sites": 3, "alpha": 0.5},
            {"partition": "quantity-skew", "sites": 4, "alpha": 2.0},
            {"partition": "quantity-skew", "shares": (0.6, 0.3, 0.1)},
        ]
    ),
    seed=st.integers(0, 99),
)
def test_every_patient_is_at_one_hospital_and_every_hospital_has_patients(
    labels: list[int], settings: dict[str, Any], seed: int
) -> None:
    classes = {f"p{n}": label for n, label in enumerate(labels)}
    try:
        division = divided(classes, seed, **settings)
    except DataError:
        assert len(labels) - labels.count(UNKNOWN) < 12  # refused in words, and only with few patients
        return
    assert division.keys() == classes.keys()
    assert set(division.values()) == set(range(Simulation(**settings).site_count))
    backwards = dict(reversed(classes.items()))
    assert divided(backwards, seed, **settings) == division  # the order of the rows does not count


@given(
    labels=st.lists(st.booleans(), min_size=30, max_size=120),
    shares=st.tuples(*[st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0])] * 3),
)
def test_stated_shares_of_positives_are_met_to_the_patient(labels: list[bool], shares: tuple[float, ...]) -> None:
    classes = {f"p{n}": int(label) for n, label in enumerate(labels)}
    try:
        division = divided(classes, partition="positives", positives=shares)
    except DataError:
        assert min(labels.count(False), labels.count(True)) < 40  # refused in words, and only with few of a class
        return
    for site, (negative, positive) in enumerate(counts(division, {"": 0, " ": 1} | classes).values()):
        assert abs(positive - shares[site] * (positive + negative)) <= 1.01


def test_positives_leave_out_no_more_than_they_must() -> None:
    division = divided(partition="positives", positives=(0.1, 0.5), shares=(0.5, 0.5))
    assert counts(division) == {0: [150, 17], 1: [83, 83]}  # all positives are used; 67 negatives have no place


def test_sizes_of_positives_can_differ() -> None:
    division = divided(partition="positives", positives=(0.25, 0.25), shares=(0.75, 0.25))
    assert counts(division) == {0: [225, 75], 1: [75, 25]}


def test_quantity_skew_keeps_classes_alike() -> None:
    assert counts(divided(partition="quantity-skew", shares=(0.6, 0.3, 0.1))) == {0: [180, 60], 1: [90, 30], 2: [30, 10]}


def test_hospitals_are_the_less_alike_the_smaller_alpha_is() -> None:
    def spread(partition: str, alpha: float) -> float:
        values = []
        for seed in range(20):
            by_site = counts(divided(seed=seed, partition=partition, sites=3, alpha=alpha)).values()
            measured = [n[1] / sum(n) if partition == "label-skew" else sum(n) / 400 for n in by_site]
            values.append(max(measured) - min(measured))
        return sum(values) / len(values)

    for partition in ("label-skew", "quantity-skew"):
        assert spread(partition, 0.3) > 2 * spread(partition, 10) > 4 * spread(partition, 1000)


def test_drawn_hospitals_have_three_patients_or_more() -> None:
    for seed in range(50):
        sizes = Counter(divided(seed=seed, partition="quantity-skew", sites=4, alpha=0.2).values())
        assert min(sizes.values()) >= MIN_DRAWN


def test_another_seed_divides_otherwise_and_the_same_does_not() -> None:
    settings: dict[str, Any] = {"partition": "label-skew", "sites": 3, "alpha": 0.5}
    first = divided(seed=7, **settings)
    assert divided(seed=7, **settings) == first != divided(seed=8, **settings)
    assert counts(first) == {0: [1, 52], 1: [102, 15], 2: [197, 33]}  # held, since runs of every machine rely on it


def test_proportions_follow_the_dirichlet_distribution() -> None:
    share = [counts(divided(seed=seed, partition="label-skew", sites=2, alpha=1.0))[0][0] / 300 for seed in range(300)]
    assert sum(share) / 300 == pytest.approx(0.5, abs=0.05)
    assert sum(value < 0.25 for value in share) / 300 == pytest.approx(0.25, abs=0.08)  # uniform for two hospitals


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"partition": "label-skew", "sites": 200, "alpha": 1.0}, "too few for 200 hospitals"),
        ({"partition": "label-skew", "sites": 50, "alpha": 0.01}, "none of 1000 draws"),
        ({"partition": "quantity-skew", "shares": (0.999, 0.001)}, "leave 1 of 2 hospitals with none"),
        ({"partition": "positives", "positives": (0.5, 0.0001)}, "1 of 2 hospitals would have none of the second class"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        divided(**settings)


def test_patients_of_one_class_alone_are_no_positives() -> None:
    with pytest.raises(DataError, match="30 patients of the first class and 0 of the second are too few"):
        divided({f"p{n}": 0 for n in range(30)}, partition="positives", positives=(0.5, 0.5))


@given(total=st.integers(0, 1000), shares=st.lists(st.floats(0.01, 1), min_size=1, max_size=8))
def test_apportioned_numbers_add_up_and_are_near_their_shares(total: int, shares: list[float]) -> None:
    numbers = apportion(total, shares)
    assert sum(numbers) == total
    assert all(abs(n - total * share / sum(shares)) < 1 + 1e-9 for n, share in zip(numbers, shares, strict=True))
