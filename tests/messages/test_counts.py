"""Counts as a site sends them: exact, or only that they are few."""

from __future__ import annotations

import pytest

from medfl.messages import counts


@pytest.mark.parametrize(("count", "k", "words"), [(0, 10, "0"), (1, 10, "<10"), (9, 10, "<10"), (10, 10, "10"), (1, 0, "1")])
def test_a_count_below_k_is_reported_as_few(count: int, k: int, words: str) -> None:
    assert counts.format_count(counts.suppress_count(count, k)) == words


def test_counts_by_code_survive_being_text() -> None:
    known = {"LBL-EMPTY": 12, "DCM-SPACING": -10, "NII-4D": 0}
    assert counts.from_text(counts.to_text(known)) == known
    assert counts.from_text("") == {}


@pytest.mark.parametrize(
    "text", ["LBL-EMPTY", "LBL-EMPTY=-3", "=3", "LBL-EMPTY=1e9", "doe^jane=1", "A=1,<script>=2", "A=9999999999"]
)
def test_text_that_is_not_counts_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not counts"):
        counts.from_text(text)


def test_a_sum_says_that_it_is_not_exact() -> None:
    assert counts.lower_bound([12, -10, -5]) == 14
    assert counts.format_sum([12, -10, -5]) == "at least 14"
    assert counts.format_sum([]) == "0"
