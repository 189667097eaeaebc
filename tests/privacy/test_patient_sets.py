"""No two runs differ by a few patients, whatever sums over their splits a server adds and subtracts."""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from medfl.privacy.patient_sets import FINGERPRINT, adjust, count_patients, find_near, leave_out_more, write_member

K = 5
SECRET = bytes(range(32))
NAMES = ("train", "validation", "test")

Sets = dict[str, frozenset[str]]


def divide(patients: range, test: int, validation: int = 0) -> Sets:
    """Put the first patients into the test, the next into validation."""
    names = [write_member(f"pat-{n}", f"case-{n}") for n in patients]
    cut = test + validation
    return {"test": frozenset(names[:test]), "validation": frozenset(names[test:cut]), "train": frozenset(names[cut:])}


def without(splits: Mapping[str, frozenset[str]], *patients: int) -> Sets:
    gone = {write_member(f"pat-{n}", f"case-{n}") for n in patients}
    return {name: members - gone for name, members in splits.items()}


def test_two_shares_that_differ_by_two_patients_are_found_and_mended() -> None:
    first, second = divide(range(240), round(0.2 * 240), 24), divide(range(240), round(0.2084 * 240), 24)
    losses = {f"pat-{n}": random.Random(n).random() for n in range(240)}

    def total(members: frozenset[str]) -> float:
        return sum(losses[member.partition("/")[0]] for member in members)

    told = total(second["test"]) - total(first["test"])  # what the server computes of two answers
    assert abs(told - losses["pat-48"] - losses["pat-49"]) < 1e-9
    assert min(c.patients for c in find_near(second, [first], 10)) == 2
    assert adjust(second, [first], 10, SECRET) == first


def test_equal_sets_and_those_far_apart_are_left_alone() -> None:
    first = divide(range(60), 12, 12)
    assert find_near(first, [first], 10) == []
    assert find_near(divide(range(100, 160), 12, 12), [first], 10) == []
    assert adjust(divide(range(30, 120), 20, 20), [first], 10, SECRET) == divide(range(30, 120), 20, 20)


def test_one_patient_less_than_the_smallest_count_is_too_near_and_that_many_are_not() -> None:
    first = divide(range(60), 12, 12)
    assert [c.patients for c in find_near(without(first, *range(30, 29 + K)), [first], K)][:1] == [K - 1]
    assert find_near(without(first, *range(30, 30 + K)), [first], K) == []


def test_no_more_is_left_out_than_needed() -> None:
    first = divide(range(60), 12, 12)
    second = divide(range(30, 120), 18, 12)  # who trains in the first tests and validates here, but for six
    adjusted = adjust(second, [first], 10, SECRET)
    assert adjusted is not None
    assert {name: len(second[name] - adjusted[name]) for name in NAMES} == {"train": 0, "validation": 0, "test": 4}


def test_splits_that_differ_by_many_but_sum_up_to_nearly_the_same_are_found() -> None:
    first = divide(range(60), 20, 12)
    turned = divide(range(60), 20, 12)
    second = {"test": turned["validation"], "validation": turned["test"], "train": turned["train"]}
    assert find_near(second, [first], 10) == []
    second = without(second, 3)
    assert {c.patients for c in find_near(second, [first], 10)} == {1}
    assert all(set(c.new_splits) != {"test"} for c in find_near(second, [first], 10))  # that one is told by itself unchanged


def test_a_further_image_of_a_few_patients_is_a_difference() -> None:
    first = divide(range(60), 12, 12)
    more = {**first, "test": first["test"] | {write_member("pat-0", "case-new")}}
    assert {c.patients for c in find_near(more, [first], 10)} == {1}
    assert adjust(more, [first], 10, SECRET) == first


def test_hidden_splits_do_not_count() -> None:
    first, second = divide(range(60), 4, 20), divide(range(60), 6, 18)
    near = find_near(second, [first], 10)
    assert {c.patients for c in near} == {2}
    assert all("test" not in c.new_splits + c.earlier_splits for c in near)


def test_fingerprints_are_compared_with_fingerprints() -> None:
    run = divide(range(60), 12, 12)
    described = {FINGERPRINT: run["train"] | run["validation"]}
    fewer = without(described, 20)
    assert find_near(fewer, [run], 10) == []
    assert [c.patients for c in find_near(fewer, [run, described], 10)] == [1]
    adjusted = adjust(fewer, [run, described], 10, SECRET)
    assert adjusted is not None
    assert len(adjusted[FINGERPRINT]) == 38


def test_a_withdrawn_consent_leaves_out_more_and_the_next_runs_have_the_same_sets() -> None:
    first = divide(range(100), 30, 20)
    now = without(first, 7, 60)  # one of the test, one who trains
    adjusted = adjust(now, [first], 10, SECRET)
    assert adjusted is not None
    assert {name: count_patients(members) for name, members in adjusted.items()} == {"test": 20, "validation": 20, "train": 40}
    assert find_near(adjusted, [first], 10) == []
    assert adjust(now, [first, adjusted], 10, SECRET) == adjusted  # a repetition
    assert adjust(now, [first], 10, bytes(32)) != adjusted  # who is left out is for nobody else to compute
    third = adjust(without(now, 61), [first, adjusted], 10, SECRET)
    assert third is not None
    assert find_near(third, [first, adjusted], 10) == []


def test_many_new_patients_are_taken_and_few_are_not() -> None:
    first = divide(range(100), 30, 20)
    grown = {**first, "train": first["train"] | divide(range(200, 240), 0)["train"], "test": first["test"] | {"pat-500/c"}}
    adjusted = adjust(grown, [first], 10, SECRET)
    assert adjusted == {**grown, "test": first["test"]}


def test_too_few_to_train_with_is_a_refusal() -> None:
    first = divide(range(25), 0, 0)
    assert leave_out_more(without(first, *range(8)), [first], 10, SECRET) is not None
    assert leave_out_more(without(first, *range(16)), [first], 10, SECRET) == without(first, *range(16))
    small = divide(range(14), 0, 0)
    assert adjust(without(small, 1), [small], 10, SECRET) is None


patients = st.lists(st.sampled_from(["", *NAMES]), min_size=24, max_size=24)


def as_splits(places: list[str]) -> Sets:
    return {name: frozenset(f"pat-{n}/c" for n, place in enumerate(places) if place == name) for name in NAMES}


@settings(max_examples=150, deadline=None)
@given(patients, patients, st.lists(st.integers(0, 23), max_size=4))
def test_what_comes_out_of_an_adjustment_is_apart_from_all_and_stays(one: list[str], other: list[str], gone: list[int]) -> None:
    earlier = [as_splits(one), as_splits(other)]
    new = as_splits(["" if n in gone else place for n, place in enumerate(one)])
    adjusted = adjust(new, earlier, K, SECRET)
    if adjusted is None:
        return
    assert find_near(adjusted, earlier, K) == []
    everyone = frozenset().union(*new.values())
    assert all(members <= everyone for members in adjusted.values())
    assert adjust(new, [*earlier, adjusted], K, SECRET) == adjusted


@settings(max_examples=60, deadline=None)
@given(patients, patients, st.integers(0, 3))
def test_multiples_of_sums_tell_nothing_that_unions_do_not(one: list[str], other: list[str], changes: int) -> None:
    near = [place if n >= changes else other[n] for n, place in enumerate(one)]
    first, second = as_splits(one), as_splits(near)
    told = [name for name in NAMES if len(first[name]) >= K], [name for name in NAMES if len(second[name]) >= K]
    fewest = 99
    for weights in product((-2, -1, 0, 1, 2), repeat=len(told[0]) + len(told[1])):
        mine, theirs = dict(zip(told[0], weights, strict=False)), dict(zip(told[1], weights[len(told[0]) :], strict=True))
        seen = sum(mine.get(a, 0) + theirs.get(b, 0) != 0 for a, b in zip(one, near, strict=True))
        fewest = min(fewest, seen or 99)
    assert bool(find_near(second, [first], K)) == (fewest < K)


def test_a_split_of_exactly_the_smallest_count_is_told() -> None:
    earlier = {"test": frozenset(write_member(f"pat-{n}", f"case-{n}") for n in range(K + 1))}
    assert [conflict.patients for conflict in find_near(without(earlier, K), [earlier], K)] == [1]
