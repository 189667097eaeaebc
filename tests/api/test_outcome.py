"""Outcome of a run: what it says of the cases that were left out."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import pytest

from medfl.api.outcome import left_out_sentence


@pytest.mark.parametrize(
    ("excluded", "expected"),
    [
        ({}, ""),
        ({"IMG-NAN": 5, "LBL-EMPTY": 7}, "12 of 200 cases left out; the report says why."),
        ({"IMG-NAN": -10}, "<10 of at least 189 cases left out; the report says why."),
    ],
)
def test_the_outcome_says_how_many_cases_the_hospitals_left_out(excluded: Mapping[str, int], expected: str) -> None:
    site = SimpleNamespace(excluded=excluded, cases={"train": 150, "validation": 8, "test": 30})
    assert left_out_sentence(SimpleNamespace(joined={1: site})) == expected  # type: ignore[arg-type]
