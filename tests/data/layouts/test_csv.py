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

from medfl.data.cases import Source
from medfl.data.cohort import read_cohort
from medfl.data.layouts.dicom_resolver import get_selecting_cells, parse_selection
from medfl.data.load import load_case
from medfl.errors import DataError
from tests.data.layouts.picture_site import codes, picture_site, write_index

MASK = np.zeros((7, 5, 8), dtype=np.uint8)


def uid_of(paths: list[Path]) -> str:
    return str(pydicom.dcmread(paths[0]).SeriesInstanceUID)


@pytest.fixture
def root(tmp_path: Path, save_nifti: Any) -> Path:
    save_nifti(tmp_path / "data" / "mask.nii", MASK)
    return tmp_path / "data"


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


@pytest.mark.parametrize(("where", "count"), [("place=x|y", 0), ("place=x|yy", 1), ("place!=z|w", 2), ("place!=", 0)])
def test_a_value_that_chooses_nothing_is_told(
    root: Path, save_nifti: Any, make_site: Any, make_study: Any, where: str, count: int
) -> None:
    for n in range(2):
        save_nifti(root / f"{n}.nii", MASK)
    write_index(root, "0.nii,mask.nii,a,x", "1.nii,mask.nii,b,y", columns="image,label,patient,place")
    cohort = read_cohort(make_site(root, where=where), make_study())
    told = [finding.what for finding in cohort.findings if finding.code == "INDEX-WHERE"]
    assert told == ([f"{count} value(s) of 'where' stand in no row of the index, so they choose nothing."] if count else [])


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


@pytest.mark.parametrize("column", ["split", "Split", " SPLIT ", "\u200bsplit"])
def test_the_case_of_a_column_does_not_count(root: Path, make_site: Any, make_study: Any, column: str) -> None:
    rows = [f"{n}.png,{'ab'[n % 2]},p{n},{'TEST' if n > 5 else 'Train'}" for n in range(10)]
    site = picture_site(root, make_site, f"Image,LABEL,Patient,{column}", rows, where="label=a|b")
    study = make_study(task__kind="classification", task__classes="a,b", task__modality="XR", task__dimension=2)
    cohort = read_cohort(site, study)
    assert Counter(case.split for case in cohort.cases) == {"train": 6, "test": 4}
    assert codes(cohort) == {}


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


def test_columns_that_only_tell_about_images_select_nothing() -> None:
    row = {"SliceThickness": "5", "SeriesDescription": "axial", "AcquisitionTime": "100000", "EchoTime": "10"}
    assert get_selecting_cells(row) == [("EchoTime", "10")]
