"""What values mean by a JSON file: names and numbers either way round, or a refusal."""

from __future__ import annotations

from typing import Any

import pytest

from medfl.data.layouts.msd import read_label_names
from medfl.data.layouts.value_names import parse_value_names
from medfl.errors import DataError

NAMES = ((0, "background"), (1, "liver"), (2, "ignore"))


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0, "liver": [1], "Ignore": 2},
        {"background": "0", "liver": "1", "ignore": "2"},
        {"background": 0.0, "liver": 1.0, "ignore": 2},
        {"0": "background", "1": "liver", "2": "ignore"},
        {"2": "Ignore", "0.0": "background", " 1": "liver"},
        {"ignore": 2, "liver": 1, "background": 0},
    ],
)
def test_names_of_values_either_way_round(labels: Any) -> None:
    assert parse_value_names(labels, "dataset.json") == NAMES


def test_numbers_may_be_names() -> None:
    assert parse_value_names({"background": 0, "1": 2, "2": 1}, "") == ((0, "background"), (1, "2"), (2, "1"))
    assert parse_value_names({"0": "background", "1": "3"}, "") == ((0, "background"), (1, "3"))
    assert parse_value_names({"0": 0, "1": 1}, "") == ((0, "0"), (1, "1"))


@pytest.mark.parametrize(
    "labels",
    [
        {},
        None,
        "liver",
        ["background", "liver"],
        {"background": "zero"},
        {"liver": []},
        {"liver": True},
        {"liver": 1.5},
        {"liver": -1},
        {"liver": None},
        {"0": "background", "x": "y"},
        {"0": "background", "liver": 1},
        {"0": "background", "1": ""},
        {"0": "background", "1": {"name": "liver"}},
        {"0": 1, "1": 0},
        {"background": 0, "liver": 1, "tumour": 1},
        {"0": "background", "1": "liver", "1.0": "tumour"},
    ],
)
def test_labels_that_are_not_understood_are_refused(labels: Any) -> None:
    with pytest.raises(DataError, match="INDEX-FORMAT"):
        parse_value_names(labels, "dataset.json")


def test_regions_are_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"LBL-REGIONS.*1 of the labels"):
        parse_value_names({"background": 0, "whole": [1, 2], "core": 2}, "dataset.json")


@pytest.mark.parametrize("key", ["Labels", "label", "lables", "LABELS", "classes", "label_names", "classNames", "label-map"])
def test_a_key_that_is_nearly_labels_is_not_passed_over(key: str) -> None:
    assert read_label_names({"description": "x"}) == ()
    with pytest.raises(DataError, match=f"INDEX-FORMAT.*{key}"):
        read_label_names({key: {"background": 0, "liver": 1}})
