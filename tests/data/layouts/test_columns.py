"""A column is found by its name, or named as what was probably meant, without a cell of the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medfl.data.cohort import read_cohort
from medfl.data.layouts.columns import describe_columns
from medfl.errors import DataError
from tests.data.layouts.picture_site import codes, picture_site


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ("image,label,patient,spilt", "'spilt', which is probably meant to be 'split'"),
        ("image,label,patient,splits", "'splits'"),
        ("image,label,patient,s_plit", "'s_plit'"),
        ("image,label,patient,Anotated", "meant to be 'annotated'"),
        ("image,label,patient,annotated_", "meant to be 'annotated'"),
        ("image,label,patient,split,Split", "'split' and 'Split'"),
        ("image,label,patient,Patient", "'patient' and 'Patient'"),
        ("image,lable,patient,age", "Did you mean 'lable'"),
        ("image,label,patient id,age", "Did you mean 'patient id'"),
    ],
)
def test_a_column_that_misses_a_known_one_by_little_is_named(
    root: Path, make_site: Any, make_study: Any, columns: str, named: str
) -> None:
    site = picture_site(
        root, make_site, columns, [f"{n}.png,{'ab'[n % 2]},p{n},train" + ",x" * (columns.count(",") - 3) for n in range(4)]
    )
    study = make_study(task__kind="classification", task__classes="a,b", task__modality="XR", task__dimension=2)
    with pytest.raises(DataError, match="INDEX-COLUMN") as caught:
        read_cohort(site, study)
    assert named in str(caught.value)


def test_columns_of_other_words_are_nobody_s_mistake(root: Path, make_site: Any, make_study: Any) -> None:
    columns = "image,label,patient,annotator,split_1,site,image_type,rows,series"
    site = picture_site(root, make_site, columns, [f"{n}.png,{'ab'[n % 2]},p{n},x,2,y,z,2,1" for n in range(4)])
    study = make_study(task__kind="classification", task__classes="a,b", task__modality="XR", task__dimension=2)
    assert codes(read_cohort(site, study)) == {}


@pytest.mark.parametrize("column", ["series_id", "SeriesID", "Series Id"])
def test_a_number_of_a_series_is_no_misspelt_uid(
    column: str, root: Path, make_site: Any, make_study: Any, write_series: Any
) -> None:
    for name in "ab":
        write_series(root / name)
    (root / "index.csv").write_text(f"image,label,patient,{column}\na,x,1,17\nb,y,2,18\n")
    study = make_study(task__kind="classification", task__classes="x,y", task__modality="CT")
    assert len(read_cohort(make_site(root), study).cases) == 2


@pytest.mark.parametrize(
    ("columns", "wanted", "hint"),
    [
        (["image", "mask"], "label", "Did you mean 'mask'?"),
        (["image", "tumour_seg"], "label", "Did you mean 'tumour_seg'?"),
        (["id", "file_path", "max"], "image", "Did you mean 'file_path'?"),
        (["image", "subject_id"], "patient", "Did you mean 'subject_id'?"),
        (["id", "dtype", "max"], "image", ""),
        (["image", "Split"], "label", ""),
    ],
)
def test_a_missing_column_is_looked_for_under_other_names(columns: list[str], wanted: str, hint: str) -> None:
    rows = [dict.fromkeys(columns, f"a {k}") for k in range(20)]
    said = describe_columns(columns, wanted, rows=rows)
    assert said.endswith(hint or ".")
    assert ("Did you mean" in said) == bool(hint)


@pytest.mark.parametrize("count", [2, 3, 40])
@pytest.mark.parametrize(
    "row",
    [
        "scan{}.png,{},case|control",
        "P{},{},case|control",
        "{},mask|no mask",
        "ward/{},{},patient|control,F|M",
        "{},1961-03-0{},label|none",
    ],
)
def test_no_message_repeats_the_cells_of_a_table_without_a_header(
    row: str, count: int, root: Path, make_site: Any, make_study: Any
) -> None:
    names = ["Jane Doe", "John Roe", "Anna Muster"]
    cells = [[cell.format(n) if "{}" in cell and len(cell) > 2 else cell for cell in row.split(",")] for n in range(count)]
    lines = [
        ",".join(
            cell.format(names[min(n, 2)]) if cell == "{}" else cell.split("|")[n % 2 if "|" in cell else 0] for cell in one
        )
        for n, one in enumerate(cells)
    ]
    (root / "index.csv").write_text("\n".join(lines))
    study = make_study(task__kind="classification", task__classes="a,b", task__modality="XR", task__dimension=2)
    with pytest.raises(DataError) as refused:
        read_cohort(make_site(root, layout="csv"), study)
    assert not any(word in str(refused.value) for word in ("Jane", "Doe", "scan0", "P0", "ward", "1961"))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Reader Mueller", False),
        ("reader_mueller", False),
        ("ReaderMueller", False),
        ("Dr_Schmidt", False),
        ("Dr. Schmidt", False),
        ("prof-keller", False),
        ("Radiologist Urs Keller", False),
        ("reader_id", True),
        ("Reader 1", True),
        ("readerB", True),
        ("ms_lesions", False),  # nobody can tell
        ("Finding Labels", True),
    ],
)
def test_the_name_of_a_reader_is_not_repeated(name: str, shown: bool) -> None:
    assert (name in describe_columns(["image", "label", name], "patient", rows=[])) == shown
