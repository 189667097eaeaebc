"""Text for people: sizes, durations, counts with their nouns."""

from __future__ import annotations

import math

import pytest

from medfl.system.text import format_bytes, format_duration, join_words, plural


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (5_600_000, "5.6 MB"), (2.5e12, "2500.0 GB"), (math.nan, "n/a")],
)
def test_bytes(count: float, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (1.0, "1 s"),
        (4.26, "4.3 s"),
        (65, "1 min 5 s"),
        (3599.6, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (math.nan, "n/a"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_words() -> None:
    assert join_words(["a", "b", "c"]) == "a, b and c"
    assert join_words(["a"]) == "a"
    assert join_words([]) == ""
    assert plural(1, "hospital") == "1 hospital"
    assert plural(0, "hospital") == "0 hospitals"
    assert plural(12_000, "study", "studies") == "12 000 studies"
