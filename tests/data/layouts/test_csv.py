"""A manifest that chooses series, objects and volumes of DICOM, and says what was annotated."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import generate_uid

from medfl.data.cases import Cohort, Source
from medfl.data.cohort import read_cohort
from medfl.data.layouts.columns import describe_columns
from medfl.data.layouts.dicom_resolver import get_selecting_cells, parse_selection
from medfl.data.layouts.table import read_table
from medfl.data.load import load_case
from medfl.errors import DataError

MASK = np.zeros((7, 5, 8), dtype=np.uint8)


def codes(cohort: Cohort) -> dict[str, int]:
    return dict(Counter(finding.code for finding in cohort.findings if finding.code != "SITE-ONE-PATIENT"))


def uid_of(paths: list[Path]) -> str:
    return str(pydicom.dcmread(paths[0]).SeriesInstanceUID)


@pytest.fixture
def root(tmp_path: Path, save_nifti: Any) -> Path:
    save_nifti(tmp_path / "data" / "mask.nii", MASK)
    return tmp_path / "data"


def write_index(root: Path, *rows: str, columns: str = "image,label,patient") -> None:
    (root / "index.csv").write_text("\n".join((columns, *rows)))


def test_a_series_of_a_folder_is_named_by_its_uid(root: Path, write_series: Any, make_site: Any, make_study: Any) -> None:
    one, two = write_series(root / "ct"), write_series(root / "ct" / "more")
    study = make_study(task__modality="CT")
    write_index(root, f"ct,mask.nii,a,{uid_of(two)}", f",mask.nii,b,{uid_of(one)}", columns="image,label,patient,series_uid")
    cohort = read_cohort(make_site(root), study)
    assert {frozenset(case.image.paths) for case in cohort.cases} == {frozenset(one), frozenset(two)}
    assert codes(cohort) == {"ID-HEADER": 1}  # both series name one patient
    write_index(root, "ct,mask.nii,a")
    assert codes(read_cohort(make_site(root), study)) == {"DCM-SERIES": 1}
    write_index(root, "ct,mask.nii,a,1.2.3", columns="image,label,patient,series_uid")
    assert codes(read_cohort(make_site(root), study)) == {"INDEX-SELECT": 1}


@pytest.mark.parametrize("by_folder", [False, True])
def test_several_series_are_channels(root: Path, write_series: Any, make_site: Any, make_study: Any, by_folder: bool) -> None:
    one, two = write_series(root / "s" / "one"), write_series(root / "s" / "two")
    if by_folder:
        write_index(root, "s/two,s/one,mask.nii,a", columns="t1,t2,label,patient")
    else:
        write_index(root, f"s,mask.nii,a,{uid_of(two)}|{uid_of(one)}", columns="image,label,patient,series_uid")
    named = {"image": "t1,t2"} if by_folder else {"channels": ("T1", "T2")}
    site = make_site(root, **named, negatives=True, label_geometry="resample")
    (case,) = read_cohort(site, make_study(task__modality="CT", task__channels="T1,T2")).cases
    assert set(case.image.paths) == {*one, *two}
    assert case.image.select == (f"SeriesInstanceUID={uid_of(two)}", f"SeriesInstanceUID={uid_of(one)}")


def test_columns_choose_a_volume_of_a_series(root: Path, write_series: Any, make_site: Any, make_study: Any) -> None:
    series = write_series(root / "mr", lambda k, ds: setattr(ds, "EchoTime", "10"), count=9)
    for path in series[:9]:
        ds = pydicom.dcmread(path)
        ds.EchoTime, ds.SOPInstanceUID = "20", generate_uid()
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.PixelData = (ds.pixel_array + 100).tobytes()
        ds.save_as(path.with_name(f"late-{path.name}"))
    study = make_study(task__modality="CT", task__channels="T1,T2")
    write_index(root, "mr,mask.nii,a,10|20,axial", columns="image,label,patient,EchoTime,orientation")
    site = make_site(root, channels=("T2", "T1"))
    (case,) = read_cohort(site, study).cases
    assert case.image.select == ("EchoTime=20; orientation=axial", "EchoTime=10; orientation=axial")
    write_index(root, "mr,mask.nii,a,EchoTime=20", columns="image,label,patient,select")
    assert codes(read_cohort(site, study)) == {"IMG-CHANNELS": 1}
    (case,) = read_cohort(make_site(root), make_study(task__modality="CT")).cases
    assert case.image.select == ("EchoTime=20",)


def test_selections() -> None:
    assert parse_selection({"image": "a.nii", "label": "x"}) == ()
    assert parse_selection({"rows": "512", "ECHOTIME": "10|20", "sop_instance": ""}) == (
        "rows=512; EchoTime=10",
        "rows=512; EchoTime=20",
    )
    for row in ({"EchoTime": "1|2", "rows": "1|2|3"}, {"orientation": "askew"}, {"select": "speed=9"}):
        with pytest.raises(DataError, match="INDEX-SELECT"):
            parse_selection(row)


def test_objects_of_a_folder_are_named_one_by_one(root: Path, write_series: Any, make_site: Any, make_study: Any) -> None:
    series = write_series(root / "all")
    uids = [str(pydicom.dcmread(path).SOPInstanceUID) for path in series[:2]]
    write_index(root, f"all,a,p,{uids[0]}", f"all,b,q,{uids[1]}", columns="image,label,patient,sop_instance")
    study = make_study(task__kind="classification", task__classes="a,b", task__modality="CT", task__dimension=2)
    cohort = read_cohort(make_site(root), study)
    assert {case.label: case.image.paths for case in cohort.cases} == {0: (series[0],), 1: (series[1],)}


def test_what_else_lies_in_the_folder_of_a_series_is_passed_over(
    root: Path, write_series: Any, save_seg: Any, make_site: Any, make_study: Any
) -> None:
    series = write_series(root / "export" / "ct")
    marked = MASK.astype(bool)
    marked[2:4, 1:3, 2] = True
    seg = save_seg(root / "export" / "seg.dcm", series, {"Organ": marked})
    write_series(root / "export" / "scout", lambda k, ds: setattr(ds, "Modality", "PT"), count=1)
    write_index(root, "export,export,a")
    site, study = make_site(root), make_study(task__modality="CT")
    (case,) = read_cohort(site, study).cases
    assert (set(case.image.paths), case.label) == (set(series), Source("dicom", (seg,)))
    np.testing.assert_array_equal(load_case(case, study, site)[1], marked)


def test_columns_about_dicom_mean_nothing_for_other_files(root: Path, make_site: Any, make_study: Any) -> None:
    for grey, name in enumerate(("a", "b")):
        Image.new("L", (4, 4), grey).save(root / f"{name}.tiff")
    write_index(root, "a.tiff,a,p,wide,512", "b.tiff,b,q,,", columns="image,label,patient,orientation,rows")
    study = make_study(task__kind="classification", task__classes="a,b", task__modality="XR", task__dimension=2)
    cohort = read_cohort(make_site(root), study)
    assert [case.image.select for case in cohort.cases] == [(), ()]
    assert codes(cohort) == {}


def test_files_of_no_known_kind(root: Path, write_series: Any, make_site: Any, make_study: Any) -> None:
    series = write_series(root / "ct")
    (root / "odd").write_text("nothing")
    series[0].rename(root / "bare")
    (root / "bare").write_bytes((root / "bare").read_bytes()[132:])
    write_index(root, "odd,mask.nii,a", "bare,mask.nii,b", "gone,mask.nii,c")
    site = make_site(root)
    assert codes(read_cohort(site, make_study(task__modality="CT"))) == {"IMG-FORMAT": 1, "DCM-NONE": 1, "IMG-MISSING": 1}


def test_what_was_annotated_and_what_is_set_aside(root: Path, save_nifti: Any, make_site: Any, make_study: Any) -> None:
    for n in range(4):
        save_nifti(root / f"{n}.nii", MASK)
    rows = (
        "0.nii,mask.nii,a,liver | lesion,train",
        "1.nii,mask.nii,b,liver,test",
        "2.nii,,c,,unlabelled",
        "3.nii,,d,,Unlabeled",
    )
    write_index(root, *rows, columns="image,label,patient,annotated,split")
    study = make_study(task__classes="background,liver,lesion")
    cohort = read_cohort(make_site(root, annotated_classes=("liver", "Lesions")), study)
    assert sorted(case.annotated for case in cohort.cases) == [("liver",), ("liver", "lesion")]
    assert codes(cohort) == {"LBL-UNLABELLED": 1, "LBL-CLASSNAME": 1}
    assert all(finding.level == "warning" and not finding.case for finding in cohort.findings)


def test_many_missing_labels_are_summed_up(root: Path, save_nifti: Any, make_site: Any, make_study: Any) -> None:
    for n in range(3):
        save_nifti(root / f"{n}.nii", MASK)
    write_index(root, "0.nii,,a", "1.nii,,b", "2.nii,mask.nii,c")
    summary = [f for f in read_cohort(make_site(root), make_study()).findings if f.code == "LBL-MISSING" and not f.case]
    assert [(f.level, f.what[:10]) for f in summary] == [("warning", "2 of 3 cas")]


def test_rows_that_are_blank_where_rows_are_chosen_are_counted(
    root: Path, save_nifti: Any, make_site: Any, make_study: Any
) -> None:
    for n in range(4):
        save_nifti(root / f"{n}.nii", MASK)
    rows = [
        f"{n}.nii,mask.nii,p{n},{place},{keep}"
        for n, (place, keep) in enumerate([("x", "y"), (" ", "y"), ("x", "n"), ("z", "y")])
    ]
    write_index(root, *rows, columns="image,label,patient,place,keep")
    cohort = read_cohort(make_site(root, where="place=x;keep=y"), make_study())
    assert [f.what[:8] for f in cohort.findings if f.code == "INDEX-BLANK"] == ["1 row(s)"]
    assert "INDEX-BLANK" not in codes(read_cohort(make_site(root, where="place!="), make_study()))


def test_the_one_table_that_gives_images_is_the_index(root: Path, save_nifti: Any, make_site: Any, make_study: Any) -> None:
    save_nifti(root / "0.nii", MASK)
    (root / "people.csv").write_text("patient,age\na,1\n")
    (root / "manifest.csv").write_text("image,label,patient\n0.nii,mask.nii,a\n")
    assert len(read_cohort(make_site(root), make_study()).cases) == 1
    (root / "another.csv").write_text("image,label,patient\n0.nii,mask.nii,a\n")
    with pytest.raises(DataError, match=r"DATA-LAYOUT.*2 tables that name images"):
        read_cohort(make_site(root), make_study())
    (root / "another.csv").rename(root / "INDEX.CSV")
    assert len(read_cohort(make_site(root), make_study()).cases) == 1


def picture_site(root: Path, make_site: Any, columns: str, rows: list[str], **data: Any) -> Any:
    """Return a site of ten different pictures, which the rows of an index describe."""
    for n in range(len(rows)):
        Image.fromarray(np.arange(n, n + 240, dtype=np.uint8).reshape(12, 20)).save(root / f"{n}.png")
    write_index(root, *rows, columns=columns)
    return make_site(root, **data)


@pytest.mark.parametrize("column", ["split", "Split", " SPLIT ", "\u200bsplit"])
def test_the_case_of_a_column_does_not_count(root: Path, make_site: Any, make_study: Any, column: str) -> None:
    rows = [f"{n}.png,{'ab'[n % 2]},p{n},{'TEST' if n > 5 else 'Train'}" for n in range(10)]
    site = picture_site(root, make_site, f"Image,LABEL,Patient,{column}", rows, where="label=a|b")
    study = make_study(task__kind="classification", task__classes="a,b", task__modality="XR", task__dimension=2)
    cohort = read_cohort(site, study)
    assert Counter(case.split for case in cohort.cases) == {"train": 6, "test": 4}
    assert codes(cohort) == {}


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


@pytest.mark.parametrize("column", ["series uid", "SeriesUID", "series-uid", "serie_uid", "SeriesInstanceUID ", "SERIES_UID"])
def test_a_column_that_nearly_chooses_a_series_is_refused_and_case_does_not_count(
    root: Path, write_series: Any, make_site: Any, make_study: Any, column: str
) -> None:
    one, two = write_series(root / "ct"), write_series(root / "ct" / "more")
    write_index(root, f"ct,mask.nii,a,{uid_of(two)}", f",mask.nii,b,{uid_of(one)}", columns=f"image,label,patient,{column}")
    site, study = make_site(root), make_study(task__modality="CT")
    if column in ("SeriesInstanceUID ", "SERIES_UID"):
        assert {frozenset(case.image.paths) for case in read_cohort(site, study).cases} == {frozenset(one), frozenset(two)}
    else:
        with pytest.raises(DataError, match=r"INDEX-COLUMN.*meant to be 'series_uid'"):
            read_cohort(site, study)


@pytest.mark.parametrize("where", ["view=pa", "view!=pa", "kind=1", "kind=1.0|2"])
def test_a_condition_that_misses_cells_by_their_spelling_is_refused(
    root: Path, make_site: Any, make_study: Any, where: str
) -> None:
    rows = ["0.png,a,p0,PA,1", "1.png,b,p1,pa,1.0", "2.png,b,p2,AP,2"]
    site = picture_site(root, make_site, "image,label,patient,view,kind", rows, where=where)
    study = make_study(task__kind="classification", task__classes="a,b", task__modality="XR", task__dimension=2)
    with pytest.raises(DataError, match=r"INDEX-WHERE.*1 row"):
        read_cohort(site, study)
    site = picture_site(root, make_site, "image,label,patient,view,kind", rows, where="view=PA|pa; kind=1|1.0")
    assert len(read_cohort(site, study).cases) == 2


@pytest.mark.parametrize("column", ["series_id", "SeriesID", "Series Id"])
def test_a_number_of_a_series_is_no_misspelt_uid(
    column: str, root: Path, make_site: Any, make_study: Any, write_series: Any
) -> None:
    for name in "ab":
        write_series(root / name)
    (root / "index.csv").write_text(f"image,label,patient,{column}\na,x,1,17\nb,y,2,18\n")
    study = make_study(task__kind="classification", task__classes="x,y", task__modality="CT")
    assert len(read_cohort(make_site(root), study).cases) == 2


def test_columns_that_only_tell_about_images_select_nothing() -> None:
    row = {"SliceThickness": "5", "SeriesDescription": "axial", "AcquisitionTime": "100000", "EchoTime": "10"}
    assert get_selecting_cells(row) == [("EchoTime", "10")]


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


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Export of the study\nimage,label,patient\na.png,x,1\n", 2),
        ("Export of the study,,\nward 3,,\nimage,label,patient\na.png,x,1\n", 3),
        ("Export of the study\nimage;label;patient\na.png;x;1\n", 2),
        ("Export of the study\nscan,group\na.png,x\n", 2),
        ("Export of the study,2024\nimage,label,patient\na.png,x,1\n", 2),
        ("file,kind,note\na.png,image,mask\n", 0),
        (",scan,group\n0,s0.png,case\n1,s1.png,control\n", 0),
        (",scan,note\n0,case,mask\n1,image,label\n", 0),
        ("scan,group,\ns0.png,case,\ns1.png,control,\n", 0),
        (",scan,group,\n0,s0.png,case,\n1,mask,mask,\n", 0),
        ("scan,group\nmask,case\nimage,control\n", 0),
        ("image,kind\na.png,label\n", 0),
    ],
)
def test_a_title_above_the_names_of_the_columns_is_named(root: Path, text: str, line: int) -> None:
    (root / "index.csv").write_text(text)
    if not line:
        assert len(read_table(root / "index.csv", label="group", image="scan").rows) == text.count("\n") - 1
        return
    with pytest.raises(DataError, match=rf"INDEX-FORMAT.*are in line {line} of the index, below a title"):
        read_table(root / "index.csv", label="group", image="scan")
