"""Fingerprints of hospitals add up to that of all their cases, to the bit, and show nothing of few patients."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from medfl.errors import DataError, ExchangeError
from medfl.planning.bins import FRACTION_SCALE, MOMENT_SCALE, SPACING
from medfl.planning.fingerprint import CaseMeasurements, Fingerprint, Scope, merge


def test_three_hospitals_add_up_to_all_their_cases_in_any_order(made: SimpleNamespace) -> None:
    cases = [made.abdomen(k) for k in range(77)]
    pooled = made.added(made.CT, cases)
    hospitals = [made.added(made.CT, cases[:11]), made.added(made.CT, cases[11:41]), made.added(made.CT, cases[41:])]
    for order in itertools.permutations(hospitals):
        assert made.same(merge(order), pooled)
    assert made.same(made.added(made.CT, cases[::-1]), pooled)
    assert not made.same(made.added(made.CT, cases[1:]), pooled)


def test_one_case_is_counted_as_by_hand(made: SimpleNamespace) -> None:
    seen = CaseMeasurements((1.0, 1.0, 2.0), (10, 20, 30), 0.5, (0.25, 0.0), (np.array([3.0, 5.0], np.float32),))
    found = Fingerprint.from_case(made.CT, seen)
    assert (found.cases, found.cropped, found.marked) == (1, 1, 1)
    assert found.spacing.sum(1).tolist() == [1, 1, 1]
    assert found.spacing[2, SPACING.index(2.0)] == 1
    assert found.present.tolist() == [1, 0]
    assert found.fractions.tolist() == [FRACTION_SCALE // 4, 0]
    assert found.means.tolist() == [4 * MOMENT_SCALE]
    assert found.squares.tolist() == [17 * MOMENT_SCALE]  # (9 + 25) / 2


def test_images_that_are_normalised_one_by_one_tell_no_intensity(made: SimpleNamespace) -> None:
    found = Fingerprint.from_case(made.MR, CaseMeasurements((1.0, 1.0, 1.0), (9, 9, 9), 1.0, (0.1,)))
    assert found.intensities.size == found.means.size == found.squares.size == 0


def test_fingerprints_of_different_things_are_not_added(made: SimpleNamespace) -> None:
    other = Scope(3, "CT", ("background", "liver", "vessel"), 1, "nonzero")
    with pytest.raises(ExchangeError, match="FINGERPRINT-SCOPE"):
        merge([Fingerprint.empty(made.CT), Fingerprint.empty(other)])


@pytest.mark.parametrize(("cases", "k"), [(9, 10), (4, 5), (0, 0)])
def test_a_hospital_with_too_few_cases_tells_nothing(made: SimpleNamespace, cases: int, k: int) -> None:
    with pytest.raises(DataError, match="FINGERPRINT-FEW"):
        made.added(made.CT, [made.abdomen(n) for n in range(cases)]).suppress(k)


def test_without_the_rule_everything_is_disclosed(made: SimpleNamespace) -> None:
    found = made.added(made.CT, [made.abdomen(n, tumour=n == 0) for n in range(3)])
    assert made.same(found.suppress(0), found)


@pytest.mark.parametrize("with_tumour", [1, 9, 11, 19])
def test_a_class_that_few_cases_have_or_lack_is_hidden(made: SimpleNamespace, with_tumour: int) -> None:
    suppressed = made.added(made.CT, [made.abdomen(n, tumour=n < with_tumour) for n in range(20)]).suppress(10)
    assert suppressed.present.tolist() == [20, 0]
    assert suppressed.hidden.tolist() == [0, 1]
    assert suppressed.fractions[1] == 0


@pytest.mark.parametrize("with_tumour", [0, 10, 20])
def test_a_class_that_none_all_or_many_cases_have_is_not_hidden(made: SimpleNamespace, with_tumour: int) -> None:
    suppressed = made.added(made.CT, [made.abdomen(n, tumour=n < with_tumour) for n in range(20)]).suppress(10)
    assert suppressed.present.tolist() == [20, with_tumour]
    assert suppressed.hidden.tolist() == [0, 0]


def test_intensities_of_few_marked_cases_stay(made: SimpleNamespace) -> None:
    suppressed = made.added(made.CT, [made.abdomen(n, marked=n < 9) for n in range(30)]).suppress(10)
    assert suppressed.marked == 0
    assert suppressed.intensities.max() == suppressed.squares.max() == suppressed.means.max() == 0


def test_few_unmarked_cases_do_not_show_in_the_weight_of_the_others(made: SimpleNamespace) -> None:
    found = made.added(made.CT, [made.abdomen(n, marked=n >= 3) for n in range(30)])
    suppressed = found.suppress(10)
    assert (found.marked, suppressed.marked) == (27, 30)
    assert suppressed.means[0] / 30 == pytest.approx(found.means[0] / 27)
    assert suppressed.squares[0] / 30 == pytest.approx(found.squares[0] / 27)
    assert suppressed.intensities.sum() == pytest.approx(30 * FRACTION_SCALE, rel=1e-6)


@pytest.mark.parametrize(("cropped", "suppressed"), [(0, 0), (4, 0), (10, 10), (26, 30), (30, 30)])
def test_the_number_of_cropped_cases_tells_of_no_small_group(made: SimpleNamespace, cropped: int, suppressed: int) -> None:
    cases = [CaseMeasurements((1.0, 1.0, 1.0), (9, 9, 9), 0.5 if n < cropped else 1.0, (0.1,)) for n in range(30)]
    assert made.added(made.MR, cases).suppress(10).cropped == suppressed
