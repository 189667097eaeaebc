"""A column that may say splits or annotated classes and is not read is told, and so is one that contradicts `split`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medfl.data.cohort import read_cohort
from medfl.data.layouts.table import Table
from medfl.data.layouts.unread_columns import unread_column_warnings
from medfl.errors import DataError
from medfl.site import SiteData
from tests.data.layouts.picture_site import codes, picture_site

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


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("data_split", "train test", 1),
        ("Subset", "Training testing", 1),
        ("fold", "val dev", 1),
        ("partition", "test ", 1),
        ("fold", "1 2", 1),  # by its name alone
        ("is_test", "0 1", 1),
        ("holdout", "no yes", 1),
        ("centre", "train test external", 1),
        ("centre", "tr te va", 1),
        ("centre", "va te", 1),
        ("centre", "trn", 1),
        ("state", "VA", 0),
        ("facility", "VA ", 0),
        ("site", "ts te", 0),
        ("site", " tr", 0),
        ("state", "VA NY", 0),
        ("note", "train fine good test bad worse", 0),
        ("age", "1 2", 0),
        ("note", " ", 0),
        ("note", "test good", 0),
    ],
)
def test_splits_in_a_column_of_another_name_are_said(
    root: Path, make_site: Any, make_study: Any, column: str, values: str, said: int
) -> None:
    words = values.split(" ")
    rows = [f"{n}.png,{'ab'[n % 2]},p{n},{words[n % len(words)]}" for n in range(6)]
    site = picture_site(root, make_site, f"image,label,patient,{column}", rows)
    study = make_study(task__kind="classification", task__classes="a,b", task__modality="XR", task__dimension=2)
    assert codes(read_cohort(site, study)) == ({"SPLIT-UNREAD": 1} if said else {})


@pytest.mark.parametrize(
    ("column", "said"),
    [("annotated_classes", True), ("Annotation", True), ("annotatd", None), ("annotator", False), ("annotated", False)],
)
def test_a_column_that_may_name_the_annotated_classes_is_said(
    root: Path, make_site: Any, make_study: Any, column: str, said: bool | None
) -> None:
    rows = [f"{n}.png,{'ab'[n % 2]},p{n},a" for n in range(6)]
    site = picture_site(root, make_site, f"image,label,patient,{column}", rows)
    study = make_study(task__kind="classification", task__classes="a,b", task__modality="XR", task__dimension=2)
    if said is None:
        with pytest.raises(DataError, match=r"\[INDEX-COLUMN\].*probably meant to be 'annotated'"):
            read_cohort(site, study)
        return
    found = [finding for finding in read_cohort(site, study).findings if finding.code == "INDEX-COLUMN"]
    assert [f"column {column!r} may say which classes" in finding.what for finding in found] == [True] * said


def test_a_column_that_is_read_as_something_else_is_not_said(root: Path, make_site: Any, make_study: Any) -> None:
    rows = [f"{n}.png,{'ab'[n % 2]},p{n}" for n in range(6)]
    site = picture_site(root, make_site, "image,annotation,subset", rows, label="annotation", patient="subset")
    study = make_study(task__kind="classification", task__classes="a,b", task__modality="XR", task__dimension=2)
    assert codes(read_cohort(site, study)) == {}
