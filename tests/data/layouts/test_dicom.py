"""Trees of DICOM: labels find their series, and unusable files are reported."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet
from pydicom.uid import generate_uid

from medfl.data.cases import Cohort
from medfl.data.cohort import read_cohort
from medfl.data.load import load_case
from medfl.errors import DataError
from tests.data.dicom.drawing import write_rtstruct

SHAPE = (7, 5, 8)


def codes(cohort: Cohort, level: str = "") -> dict[str, int]:
    return dict(Counter(finding.code for finding in cohort.findings if level in ("", finding.level)))


def text_of(cohort: Cohort, code: str) -> str:
    return next(str(finding) for finding in cohort.findings if finding.code == code)


@pytest.fixture
def marked() -> Any:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[1:4, 1:3, 2:4] = True
    return mask


@pytest.fixture
def read(tmp_path: Path, make_site: Any, make_study: Any) -> Callable[..., Cohort]:
    """Return a function that reads the tree below ``data`` as a segmentation of CT."""

    def read_it(**data: Any) -> Cohort:
        return read_cohort(make_site(tmp_path / "data", **data), make_study(task__modality="CT"))

    return read_it


def patient(name: str, **more: Any) -> Callable[[int, Dataset], None]:
    def change(_: int, ds: Dataset) -> None:
        ds.PatientID = name
        for keyword, value in more.items():
            setattr(ds, keyword, value)

    return change


def test_a_label_of_a_missing_part_is_reported_with_numbers(
    tmp_path: Path, write_series: Any, save_seg: Any, marked: Any, read: Any
) -> None:
    series = write_series(tmp_path / "data" / "ct", count=10)
    save_seg(tmp_path / "data" / "seg.dcm", series, {"Organ": marked})
    series[-1].unlink()  # the rest is a whole volume
    cohort = read()
    assert codes(cohort) == {"LBL-PARTIAL-REF": 1}
    assert "10 images, of which the series has 9" in text_of(cohort, "LBL-PARTIAL-REF")


def test_lost_slices_are_reported_rather_than_their_consequences(
    tmp_path: Path, write_series: Any, save_seg: Any, marked: Any, read: Any
) -> None:
    series = write_series(tmp_path / "data" / "ct", count=10)
    save_seg(tmp_path / "data" / "seg.dcm", series, {"Organ": marked})
    series[4].unlink()
    assert codes(read()) == {"DCM-MISSING-SLICES": 1}


def renewed(series: list[Path], **more: Any) -> None:
    """Give all images new identifiers, as an anonymiser does that forgets the label."""
    for path in series:
        ds = pydicom.dcmread(path)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        for keyword, value in more.items():
            setattr(ds, keyword, value)
        ds.save_as(path)


def test_a_frame_of_reference_is_enough_only_where_the_site_says_so(
    tmp_path: Path, write_series: Any, save_seg: Any, marked: Any, read: Any
) -> None:
    series = write_series(tmp_path / "data" / "ct")
    save_seg(tmp_path / "data" / "seg.dcm", series, {"Organ": marked})
    renewed(series)
    cohort = read()
    assert codes(cohort) == {"LBL-WRONG-SERIES": 1}
    assert "label-match" in text_of(cohort, "LBL-WRONG-SERIES")
    assert len(read(label_match="frame-of-reference").cases) == 1
    shutil.copytree(tmp_path / "data" / "ct", tmp_path / "data" / "again")  # a second series in the same frame
    renewed(sorted((tmp_path / "data" / "again").iterdir()), SeriesInstanceUID=generate_uid())
    refused = read(label_match="frame-of-reference")
    assert codes(refused, "error") == {"LBL-WRONG-SERIES": 1}
    assert "2 series" in text_of(refused, "LBL-WRONG-SERIES")


def test_a_label_of_nothing_that_is_here_is_a_finding_of_the_site(
    tmp_path: Path, write_series: Any, save_seg: Any, marked: Any, read: Any
) -> None:
    series = write_series(tmp_path / "data" / "ct")
    save_seg(tmp_path / "data" / "seg.dcm", series, {"Organ": marked})
    renewed(series, FrameOfReferenceUID=generate_uid())
    cohort = read()
    assert codes(cohort) == {"LBL-MISSING": 1, "LBL-WRONG-SERIES": 1}
    assert codes(cohort, "warning") == {"LBL-WRONG-SERIES": 1}


def test_labels_that_fit_a_part_of_a_series_beside_the_right_one_are_counted(
    tmp_path: Path, write_series: Any, save_seg: Any, marked: Any, read: Any
) -> None:
    series = write_series(tmp_path / "data" / "ct", count=10)
    for name in ("half", "also"):
        save_seg(tmp_path / "data" / f"{name}.dcm", series, {"Organ": marked})
    series.pop().unlink()
    save_seg(tmp_path / "data" / "whole.dcm", series, {"Organ": marked})
    cohort = read()
    assert len(cohort.cases) == 1
    assert cohort.cases[0].label.paths == (tmp_path / "data" / "whole.dcm",)
    assert codes(cohort, "error") == {}
    assert "2 DICOM label(s) do not fit" in text_of(cohort, "LBL-UNUSED")


def test_a_label_of_another_kind_of_image_is_no_stray(
    tmp_path: Path, write_series: Any, save_seg: Any, marked: Any, read: Any
) -> None:
    series = write_series(tmp_path / "data" / "mr", patient("a", Modality="MR"))
    save_seg(tmp_path / "data" / "seg.dcm", series, {"Organ": marked})
    write_series(tmp_path / "data" / "ct", patient("a"))
    assert codes(read()) == {"LBL-MISSING": 1}


def test_contours_find_their_series_as_segmentations_do(
    tmp_path: Path, write_series: Any, make_site: Any, make_study: Any
) -> None:
    series = write_series(tmp_path / "data" / "ct")
    first = pydicom.dcmread(series[0])
    place, cosines = np.array(first.ImagePositionPatient), np.array(first.ImageOrientationPatient)
    corners = [place + r * 1.5 * cosines[3:] + c * 1.25 * cosines[:3] for r, c in ((1, 1), (1, 4), (3, 4), (3, 1))]
    write_rtstruct(tmp_path / "data" / "rt.dcm", series, {"organ": [(np.array(corners), first)]})
    write_series(tmp_path / "data" / "other")
    site, study = make_site(tmp_path / "data"), make_study(task__modality="CT")
    cohort = read_cohort(site, study)
    assert codes(cohort) == {"SITE-ONE-PATIENT": 1, "DCM-UNUSED-SERIES": 1}
    assert load_case(cohort.cases[0], study, site)[1].sum() > 0  # type: ignore[union-attr]


def test_several_labels_of_one_series_are_refused(
    tmp_path: Path, write_series: Any, save_seg: Any, marked: Any, read: Any
) -> None:
    series = write_series(tmp_path / "data" / "ct")
    for name in ("one", "two"):
        save_seg(tmp_path / "data" / f"{name}.dcm", series, {"Organ": marked})
    assert codes(read()) == {"LBL-SEVERAL": 1}


def test_an_unreadable_file_spoils_the_series_it_belongs_to(
    tmp_path: Path, write_series: Any, save_seg: Any, marked: Any, read: Any
) -> None:
    whole, broken = (write_series(tmp_path / "data" / name / "ct", patient(name)) for name in ("a", "b"))
    for name, series in (("a", whole), ("b", broken)):
        save_seg(tmp_path / "data" / name / "seg.dcm", series, {"Organ": marked})
    ds = pydicom.dcmread(broken[2])
    del ds.SOPInstanceUID
    extra = broken[2].with_name("extra.dcm")
    ds.save_as(extra)
    data = extra.read_bytes()
    extra.write_bytes(data[: data.index(ds.SeriesInstanceUID.encode()) + 80])
    (tmp_path / "data" / "cut.dcm").write_bytes(bytes(128) + b"DICM")
    cohort = read()
    assert codes(cohort, "error") == {"DCM-READ": 1}
    assert (codes(cohort)["DCM-READ"], len(cohort.cases)) == (2, 1)  # the one that belongs to nothing is a warning


def test_the_contents_of_a_disc_tell_what_is_missing(
    tmp_path: Path, write_series: Any, make_site: Any, make_study: Any
) -> None:
    disc = FileSet()
    for name in ("a", "b", "c"):
        for path in write_series(
            tmp_path / name, patient(name, PatientName=name, StudyID="1", StudyDate="20240101", StudyTime="10")
        ):
            disc.add(path)
    disc.write(tmp_path / "data")
    disc._stage["t"].cleanup()  # else it is cleaned up with a warning, some time
    root = tmp_path / "data"
    (root / "index.csv").write_text("patient,label\na,x\nb,y\nc,y\n")
    study = make_study(task__kind="classification", task__classes="x,y", task__modality="CT")
    site = make_site(root)
    assert (len(read_cohort(site, study).cases), codes(read_cohort(site, study))) == (3, {})
    files = {pydicom.dcmread(path).PatientID: path for path in root.rglob("IM*")}
    files["a"].unlink()
    shutil.rmtree(files["b"].parent)
    cohort = read_cohort(site, study)
    assert codes(cohort, "error") == {"DD-MISSING": 1}
    assert "8 file(s) that a DICOMDIR names" in " ".join(str(f) for f in cohort.findings if f.level == "warning")
    assert len(cohort.cases) == 1


def test_files_without_preamble(tmp_path: Path, write_series: Any, save_seg: Any, marked: Any, read: Any) -> None:
    series = write_series(tmp_path / "data" / "ct")
    seg = save_seg(tmp_path / "data" / "seg.dcm", series, {"Organ": marked})
    for path in (*series, seg):
        path.write_bytes(path.read_bytes()[132:])
    with pytest.raises(DataError, match=r"DCM-NONE.*no DICOM series found in 9 files; 9 files.*allow-headerless = true"):
        read()
    assert len(read(allow_headerless=True).cases) == 1
    write_series(tmp_path / "data" / "more")
    assert codes(read(), "warning") == {"DCM-NONE": 1}


def test_one_image_under_two_patient_ids_is_reported(tmp_path: Path, write_series: Any, read: Any) -> None:
    for path in write_series(tmp_path / "data" / "a"):
        ds = pydicom.dcmread(path)
        ds.PatientID, ds.SeriesInstanceUID = "other", ds.StudyInstanceUID
        (tmp_path / "data" / "b").mkdir(exist_ok=True)
        ds.save_as(tmp_path / "data" / "b" / path.name)
    assert "8 image(s)" in text_of(read(), "ID-TWICE")


def test_lost_zeros_are_a_suggestion_and_no_match(tmp_path: Path, write_series: Any, make_site: Any, make_study: Any) -> None:
    for name in ("007", "008", "x"):
        write_series(tmp_path / "data" / name, patient(name))
    (tmp_path / "data" / "index.csv").write_text("patient,label\n7,a\n8,b\nx,b\n")
    study = make_study(task__kind="classification", task__classes="a,b", task__modality="CT")
    cohort = read_cohort(make_site(tmp_path / "data"), study)
    assert (len(cohort.cases), codes(cohort)["LBL-MISSING"]) == (1, 3)  # two cases, and how many in all
    assert "2 patient(s)" in text_of(cohort, "ID-ZEROS")
    (tmp_path / "data" / "index.csv").write_text("patient,label\n007,a\n008,b\nx,b\n")
    assert codes(read_cohort(make_site(tmp_path / "data"), study)) == {}


@pytest.mark.parametrize("text", ['{"a": "x", "b": "y"}', '[{"case": "a", "label": "x"}, {"case": "b", "label": "y"}]'])
def test_classes_may_be_json(tmp_path: Path, write_series: Any, make_site: Any, make_study: Any, text: str) -> None:
    for name in ("a", "b"):
        write_series(tmp_path / "data" / name, patient(name))
    (tmp_path / "data" / "classes.json").write_text(text)
    study = make_study(task__kind="classification", task__classes="x,y", task__modality="CT")
    for layout in ("dicom", "folders"):
        cohort = read_cohort(make_site(tmp_path / "data", layout=layout, index="classes.json"), study)
        assert sorted(case.label for case in cohort.cases) == [0, 1]  # type: ignore[type-var]


@pytest.mark.parametrize(("first", "second", "refused"), [("A", "", True), ("A", "B", False), ("A", "A", False)])
def test_one_id_with_and_without_an_issuer_is_not_taken_for_two_people(
    tmp_path: Path, write_series: Any, read: Any, first: str, second: str, refused: bool
) -> None:
    for k, issuer in enumerate((first, second)):
        write_series(tmp_path / "data" / str(k), patient("7", IssuerOfPatientID=issuer))
    if refused:
        with pytest.raises(DataError, match="ID-ISSUER"):
            read()
    else:
        read()


@pytest.mark.parametrize("name", ["ANON-17", "ANONYMOUS"])
def test_an_id_on_nearly_all_studies_was_set_by_an_anonymiser(tmp_path: Path, write_series: Any, read: Any, name: str) -> None:
    for k in range(12):
        write_series(tmp_path / "data" / str(k), patient(name if k < 11 else "p", StudyInstanceUID=f"1.2.{k + 1}"), count=1)
    with pytest.raises(DataError, match=r"ID-CONSTANT.*11 studies"):
        read()


def _classify(root: Path, make_site: Any, make_study: Any, dimension: int = 3) -> Cohort:
    (root / "index.csv").write_text("patient,label\na,x\nb,y\n")
    study = make_study(task__kind="classification", task__classes="x,y", task__modality="CT", task__dimension=dimension)
    return read_cohort(make_site(root), study)


def test_images_without_a_uid_are_cases_of_their_own(
    tmp_path: Path, write_series: Any, make_site: Any, make_study: Any
) -> None:
    for name in ("a", "b"):
        for path in write_series(tmp_path / "data" / name, patient(name), count=2):
            ds = pydicom.dcmread(path)
            del ds.SOPInstanceUID, ds.SeriesInstanceUID
            ds.save_as(path)
    cohort = _classify(tmp_path / "data", make_site, make_study, dimension=2)
    assert len({case.name for case in cohort.cases}) == 4
    assert codes(cohort) == {"LBL-SHARED": 1}


def test_series_without_a_uid_are_not_thrown_together(
    tmp_path: Path, write_series: Any, make_site: Any, make_study: Any
) -> None:
    for name in ("a", "b"):
        for path in write_series(tmp_path / "data" / name, patient(name)):
            ds = pydicom.dcmread(path)
            del ds.SeriesInstanceUID
            ds.save_as(path)
    whole = _classify(tmp_path / "data", make_site, make_study)  # patient, study and folder say which belong together
    assert sorted(len(case.image.paths) for case in whole.cases) == [8, 8]
    for path in sorted((tmp_path / "data" / "b").iterdir())[:3]:
        (tmp_path / "data" / "more").mkdir(exist_ok=True)
        path.rename(tmp_path / "data" / "more" / path.name)
    cohort = _classify(tmp_path / "data", make_site, make_study)
    assert len(cohort.cases) == 1
    assert "8 file(s) of the study" in text_of(cohort, "DCM-HEADER")


def test_images_without_a_modality_have_that_of_their_class_or_are_told(
    tmp_path: Path, write_series: Any, make_site: Any, make_study: Any
) -> None:
    for name in ("a", "b"):
        for path in write_series(tmp_path / "data" / name, patient(name)):
            ds = pydicom.dcmread(path)
            del ds.Modality
            if name == "b":
                del ds.SOPClassUID
            ds.save_as(path)
    cohort = _classify(tmp_path / "data", make_site, make_study)
    assert len(cohort.cases) == 1
    assert "8 DICOM file(s) have no Modality" in text_of(cohort, "DCM-HEADER")


def test_a_copied_folder_is_no_second_label(tmp_path: Path, write_series: Any, save_seg: Any, marked: Any, read: Any) -> None:
    series = write_series(tmp_path / "data" / "a", patient("a"))
    save_seg(tmp_path / "data" / "a" / "seg.dcm", series, {"Organ": marked})
    shutil.copytree(tmp_path / "data" / "a", tmp_path / "data" / "copy of a")
    cohort = read()
    assert (len(cohort.cases), codes(cohort, "error")) == (1, {})


def test_series_without_a_segmentation_are_counted_by_whether_their_patient_has_one(
    tmp_path: Path, write_series: Any, save_seg: Any, marked: Any, read: Any
) -> None:
    series = write_series(tmp_path / "data" / "a" / "one", patient("a"))
    save_seg(tmp_path / "data" / "a" / "seg.dcm", series, {"Organ": marked})
    for number in range(2):
        write_series(tmp_path / "data" / "a" / f"more{number}", patient("a"))
    for number in range(4):
        write_series(tmp_path / "data" / "b" / f"{number}", patient("b"))
    said = [finding.what for finding in read().findings if finding.code == "DCM-UNUSED-SERIES"]
    assert [what.split(":")[0] for what in said] == [
        "2 series without a segmentation are not looked at",
        "3 further series are not looked at",
    ]
