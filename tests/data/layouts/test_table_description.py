"""What a table holds is told by columns, values and counts, and no person, date, path or prose is repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medfl.data.layouts.shown_values import is_plain_value, is_private_column
from medfl.data.layouts.site_table import describe_site_table
from medfl.data.layouts.table import read_table
from medfl.data.layouts.table_description import ColumnDescription, TableDescription, describe_column, describe_table


def describe(tmp_path: Path, text: str, label: str = "label") -> TableDescription:
    path = tmp_path / "index.csv"
    path.write_text(text)
    return describe_table(read_table(path), tmp_path, patient="patient", label=label, image=["image"])


def column(found: TableDescription, name: str) -> ColumnDescription:
    return next(column for column in found.columns if column.name == name)


def test_values_are_counted_by_rows_and_patients(tmp_path: Path) -> None:
    rows = ["p1,benign,M,train", "p1,benign,M,train", "p2,Benign ,F,val", "p3,malignant,F,test", "p4,malignant,,train"]
    found = describe(tmp_path, "\n".join(["patient,label,sex,subset", *rows]))
    assert (found.rows, found.patients, found.label) == (5, 4, "label")
    assert [(one.value, one.rows, one.patients) for one in found.classes] == [("benign", 3, 2), ("malignant", 2, 2)]
    assert describe_column(column(found, "label")) == "benign 3 (2 patients), malignant 2"
    assert describe_column(column(found, "sex")) == "F 2, M 2 (1 patient)"
    assert column(found, "sex").filled == 4
    assert found.label_candidates == ("label", "sex")
    assert found.split_candidates == ("subset",)


def test_a_column_of_files_is_a_candidate_for_masks_and_the_images_are_not(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "am.png"):
        (tmp_path / name).touch()
    found = describe(tmp_path, "image,lesion,report\na.png,am.png,gone.png\nb.png,,gone2.png\n")
    assert column(found, "lesion").kind == "image files"
    assert found.label_candidates == ("lesion",)
    assert "No label is known yet. Could be: lesion (files)." in found.sentence()
    found = describe(tmp_path, "image,lung_mask,sex\na.png,am.png,F\nb.png,,M\n")
    assert 'No label is known yet: set label = "lung_mask" in [data] if that is it.' in found.sentence()


@pytest.mark.parametrize("blank", ["", "n/a", "NaN"])
def test_blanks_are_not_values_and_none_may_be_a_class(tmp_path: Path, blank: str) -> None:
    found = describe(tmp_path, f"patient,label\np1,none\np2,tumour\np3,none\np4,tumour\np5,{blank}\nnan,tumour\n")
    assert [(one.value, one.rows, one.patients) for one in found.classes] == [("tumour", 3, 2), ("none", 2, 2)]
    assert found.patients == 5


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("mrn", ["A1", "A2"]),
        ("StudyDate", ["2020", "2021"]),
        ("referring_physician", ["Smith", "Jones"]),
        ("when", ["2020-01-02", "2021-03-04"]),
        ("who", ["DOE^JANE", "ROE^RICHARD"]),
        ("who", ["Dr Doe", "Prof Roe"]),
        ("exam", ["20200102", "20210304"]),
        ("folder2", ["ward/one", "ward/two"]),
        ("why", ["came in with a cough last week", "fell down the stairs again today"]),
        ("alias", ["anna", "otto"]),
        ("Hausarzt", ["mueller", "keller"]),
        ("telefon", ["079 123", "079 456"]),
        ("requested_by", ["jane", "john"]),
        ("team", ["Mueller", "Keller"]),
        ("team", ["Keller Urs", "Jane Doe"]),
        ("team", ["MUELLER", "KELLER"]),
    ],
)
def test_what_may_point_to_a_person_is_not_repeated(tmp_path: Path, name: str, cells: list[str]) -> None:
    rows = [f"p{k % 2},{cells[k % 2]}" for k in range(20)]
    found = describe(tmp_path, "\n".join([f"patient,{name}", *rows]))
    assert column(found, name).kind == "private"
    assert not column(found, name).values
    assert not any(cell in describe_column(column(found, name)) for cell in cells)


def test_a_value_of_one_row_is_counted_and_not_named(tmp_path: Path) -> None:
    rows = ["p1,PA", "p2,PA", "p3,AP", "p4,AP", "p5,Jane Doe"]
    assert (
        describe_column(column(describe(tmp_path, "\n".join(["patient,view", *rows])), "view")) == "AP 2, PA 2, 1 other value"
    )


def test_a_table_without_a_header_names_no_column(tmp_path: Path) -> None:
    found = describe(tmp_path, "Jane Doe,F\nJohn Roe,M\n")
    assert [one.name for one in found.columns] == ["column 1", "column 2"]


@pytest.mark.parametrize(
    ("header", "shown"),
    [
        ("image,MUELLER,Finding Labels,PSA", ["image", "column 2", "Finding Labels", "PSA"]),
        ("image,DOE^JANE,1961-03-04,4711234", ["image", "column 2", "column 3", "column 4"]),
        ("PATIENT_ID,DIAGNOSIS", ["PATIENT_ID", "DIAGNOSIS"]),  # all of the header is in capitals
        ("Mueller,image,x", ["column 1", "column 2", "column 3"]),  # 'image' is a value of its column
    ],
)
def test_a_name_of_a_column_that_may_be_a_persons_is_not_repeated(tmp_path: Path, header: str, shown: list[str]) -> None:
    rows = [",".join(cells[: header.count(",") + 1]) for cells in (["a", "image", "b", "c"], ["d", "mask", "e", "f"])]
    found = describe(tmp_path, "\n".join([header, *rows]))
    assert [one.name for one in found.columns] == shown


def test_the_site_has_named_its_label_itself(tmp_path: Path) -> None:
    found = describe(tmp_path, "image,TUMOUR\na,yes\n", label="TUMOUR")
    assert [one.name for one in found.columns] == ["image", "TUMOUR"]


def test_many_values_are_counted_only(tmp_path: Path) -> None:
    found = describe(
        tmp_path, "patient,age,word\n" + "\n".join(f"p{k},{20 + k},w{'abcdefghijklmnopqrstuvwxyz'[k]}" for k in range(25))
    )
    assert describe_column(column(found, "age")) == "numbers (25 different)"
    assert describe_column(column(found, "word")) == "many different values (25)"
    assert found.label_candidates == ()


@pytest.mark.parametrize("text", ["benign", "COVID-19", "grade 2", "-1", "0.5", "<1 cm", "T2b", "No Finding", "maybe"])
def test_names_of_classes_are_plain(text: str) -> None:
    assert is_plain_value(text)


@pytest.mark.parametrize("name", ["covid", "finding", "view", "sex", "site", "label", "modality", "grade"])
def test_usual_columns_are_not_private(name: str) -> None:
    assert not is_private_column(name)


def test_a_large_table_is_described(tmp_path: Path) -> None:
    rows = (f"i/{k}.png,p{k // 3},{'ab'[k % 2]},{k % 90},{'train' if k % 3 else 'test'}" for k in range(100_000))
    path = tmp_path / "index.csv"
    path.write_text("\n".join(["image,patient,label,age,split", *rows]))
    found = describe_table(read_table(path), tmp_path, patient="patient", label="label", image=["image"])
    assert (found.patients, found.rows) == (33_334, 100_000)


@pytest.mark.parametrize(
    ("name", "cells", "shown"),
    [
        ("Befund", ["PA", "AP"], "AP 6, PA 6"),
        ("Befunde", ["unauffällig", "pneumonie"], "pneumonie 6, unauffällig 6"),
        ("Befund", ["Pneumonie", "Normalbefund"], ""),  # a word with a capital may be a name
        ("Diagnose", ["Demenz", "Normal"], ""),
        ("diagnosis", ["Alzheimer", "MCI"], "MCI 6, 1 other value"),
    ],
)
def test_a_column_of_findings_is_offered_as_the_label_whether_its_values_are_shown_or_not(
    name: str, cells: list[str], shown: str, tmp_path: Path
) -> None:
    rows = [f"{k}.png,p{k // 2},{cells[k % 2]},{k % 2},{'mw'[k % 3 // 2]}" for k in range(12)]
    found = describe(tmp_path, "\n".join([f"image,patient,{name},is_test,sex", *rows]))
    assert found.label_candidates == (name, "sex")
    assert describe_column(column(found, name)) == (shown or "ids, dates, names or text, not shown (2 different)")
    assert f'set label = "{name}" in [data] if that is it' in found.sentence()


@pytest.mark.parametrize("name", ["Befunder", "befundet_von", "Befundarzt", "Befundtext"])
def test_who_wrote_a_finding_and_its_prose_are_private(name: str, tmp_path: Path) -> None:
    found = describe(tmp_path, f"patient,{name}\n" + "\n".join(f"p{k % 4},{'ab'[k // 4 % 2]}" for k in range(16)))
    assert column(found, name).kind == "private"
    assert found.label_candidates == ()


@pytest.mark.parametrize("name", ["is_test", "Fold", "holdout", "subset"])
def test_a_column_that_is_called_like_a_split_is_no_label(name: str, tmp_path: Path) -> None:
    rows = [f"{k}.png,{k % 2}" for k in range(8)]
    assert describe(tmp_path, "\n".join([f"image,{name}", *rows])).label_candidates == ()


@pytest.mark.parametrize(
    ("header", "words", "told"),
    [
        ("SPLIT", "train test", "Splits: SPLIT."),
        ("split", "holdout external", "Splits: split, with words that medfl does not know."),
        ("subset", "train test", "No column is called 'split'. Splits could be in: subset."),
        ("split", " ", "No column gives splits."),
        ("view", "front side", "No column gives splits."),
    ],
)
def test_it_is_told_which_column_gives_the_splits(header: str, words: str, told: str, tmp_path: Path) -> None:
    rows = [f"{k}.png,{words.split(' ')[k % 2]}" for k in range(8)]
    assert describe(tmp_path, "\n".join([f"image,{header}", *rows])).sentence().endswith(told)


@pytest.mark.parametrize(
    ("layout", "told"),
    [
        ("csv", "No label is known yet. Could be: sex, group. No column gives splits."),
        ("bids", "For a classification, the label could be: sex, group. No column gives splits."),
        ("nnunet", "No column gives splits."),
    ],
)
def test_no_label_is_missing_where_masks_are_the_labels(layout: str, told: str, tmp_path: Path, make_site: Any) -> None:
    rows = [f"sub-{k}\t{'MF'[k % 2]}\t{('patient', 'control')[k // 2 % 2]}" for k in range(8)]
    name = "participants.tsv" if layout == "bids" else "index.csv"
    (tmp_path / name).write_text("\n".join(["participant_id\tsex\tgroup", *rows]))
    found = describe_site_table(make_site(tmp_path, patient="participant_id"), layout)
    assert found is not None
    assert found.sentence() == told
