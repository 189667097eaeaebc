"""A column beside `split` that says another split is told, with how many rows contradict each other."""

from __future__ import annotations

import pytest

from medfl.data.layouts.table import Table
from medfl.data.layouts.unread_columns import unread_column_warnings
from medfl.site import SiteData

SPLITS = ["train", "train", "test", "VAL"]


def warn(columns: dict[str, list[str]], image: str = "image") -> list[str]:
    rows = tuple(dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True))
    return [warning.what for warning in unread_column_warnings(Table(tuple(columns), rows), SiteData(image=image))]


@pytest.mark.parametrize(
    ("column", "cells", "rows"),
    [
        ("is_test", "1 1 0 1", 4),
        ("is_test", "0 0 1 0", 0),
        ("IsTest", "no no yes ja", 1),
        ("is_train", "1 1 1 0", 1),
        ("testset", "false false true false", 0),
        ("subset", "train test test val", 1),
        ("subset", "training tr Test validation", 0),
        ("fold", "1 2 3 1", 0),  # of a cross-validation
        ("test", "1 1 0 1", 0),  # may be a test of a patient
        ("is_test", "a b c d", 0),
    ],
)
def test_a_contradiction_is_told_with_its_rows(column: str, cells: str, rows: int) -> None:
    found = warn({"image": list("abcd"), "SPLIT": SPLITS, column: cells.split(" ")})
    assert found == (
        [f"column {column!r} contradicts the column 'split' in {rows} of 4 rows, and is not read."] if rows else []
    )


def test_a_row_without_a_split_contradicts_nothing() -> None:
    assert warn({"image": list("abcd"), "split": ["", "unknown", "test", "train"], "is_test": ["1", "1", "1", "0"]}) == []


@pytest.mark.parametrize("column", ["is_test", "Testing set", "val_set", "in_validation", "inTraining", "is-train", "holdout"])
def test_a_column_that_says_who_is_in_a_split_is_told_where_none_is_called_split(column: str) -> None:
    (what,) = warn({"image": ["a", "b"], column: ["1", "0"]})
    assert what.startswith(f"column {column!r} may say which images are for the test")


def test_columns_are_called_as_in_the_description_of_the_table() -> None:
    found = warn({"Bild": list("ab"), "Aufnahme": list("cd"), "is_test": ["0", "1"]}, image="Bild")
    assert [what.partition(" may say")[0] for what in found] == ["column 'is_test'"]
