"""Which images are meant: by what the study and the site say of their headers, the same in every layout."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    generate_uid,
)

from medfl.data.cases import Cohort
from medfl.data.cohort import read_cohort
from medfl.data.index.file_index import FileIndex
from medfl.errors import ConfigError, DataError
from tests.data.dicom.phantom import new_object

CHEST = {"Modality": "DX", "BodyPartExamined": "CHEST"}
VIEWS: dict[str, dict[str, Any]] = {
    "pa": CHEST | {"ViewPosition": "PA", "SeriesDescription": "Thorax p.a."},
    "lateral": CHEST | {"ViewPosition": "LL", "SeriesDescription": "Thorax seitlich"},
    "raw": CHEST | {"ViewPosition": "PA", "PresentationIntentType": "FOR PROCESSING"},
    "hand": {"Modality": "CR", "BodyPartExamined": "HAND", "SeriesDescription": "Hand p.a."},
    "breast": {"Modality": "MG", "BodyPartExamined": "BREAST", "ImageLaterality": "L"},
    "bare": {"Modality": "DX"},
}


def write_picture(path: Path, patient: str, sop_class: UID = DigitalXRayImageStorageForPresentation, **values: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ds = new_object(sop_class)
    ds.PatientID, ds.StudyInstanceUID, ds.SeriesInstanceUID = patient, f"1.2.3.{len(patient)}", generate_uid()
    ds.Rows, ds.Columns, ds.BurnedInAnnotation, ds.ImageType = 6, 5, "NO", ["ORIGINAL", "PRIMARY"]
    ds.PixelData = np.random.default_rng().integers(0, 4000, (6, 5)).astype("<u2").tobytes()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    ds.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with three patients, each with the six kinds of X-ray of `VIEWS`, and a table of their classes."""
    folder = tmp_path / "data"
    for n, patient in enumerate(("A", "BB", "CCC")):
        for view, values in VIEWS.items():
            write_picture(folder / patient / f"{view}{n}.dcm", patient, **values)
    (folder / "index.csv").write_text("patient,label\nA,benign\nBB,malignant\nCCC,benign\n")
    return folder


@pytest.fixture
def read(make_site: Any, make_study: Any) -> Callable[..., Cohort]:
    """Return a function that reads a folder of X-rays for a classification."""

    def read_it(root: Path, study_select: str = "", **data: Any) -> Cohort:
        more = {"task__select": study_select} if study_select else {}
        kind = {"task__kind": "classification", "task__classes": "benign,malignant"}
        study = make_study(**kind, task__dimension=2, task__modality="XR", **more)
        return read_cohort(make_site(root, **({"layout": "dicom"} | data)), study, account=True)

    return read_it


def views(cohort: Cohort) -> dict[str, int]:
    return dict(Counter(case.image.paths[0].stem.rstrip("012") for case in cohort.cases))


def told(cohort: Cohort) -> str:
    return "; ".join(finding.what for finding in cohort.findings if finding.code == "IMG-SELECT")


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        ("ViewPosition=PA", {"pa": 3}),
        ("viewposition = ll|pa", {"pa": 3, "lateral": 3}),
        ("BodyPartExamined=chest; ViewPosition=LL", {"lateral": 3}),
        ("SeriesDescription=*p.a.*", {"pa": 3, "hand": 3}),
        ("SeriesDescription=thoraxp.a.", {"pa": 3}),
        ("Laterality=L", {"breast": 3}),
        ("ImageLaterality=L|R", {"breast": 3}),
        ("PresentationIntentType=for processing", {"raw": 3}),
        ("BodyPartExamined=none", {"bare": 3}),
        ("BodyPartExamined=HAND|BREAST|none", {"hand": 3, "breast": 3, "bare": 3}),
    ],
)
@pytest.mark.parametrize("by", ["site", "study"])
def test_only_images_that_fulfil_the_conditions_are_cases(root: Path, read: Any, select: str, expected: Any, by: str) -> None:
    cohort = read(root, select) if by == "study" else read(root, select=select)
    assert views(cohort) == expected
    assert not [finding for finding in cohort.findings if finding.case]  # nothing counts as an exclusion


def test_conditions_of_study_and_site_hold_together(root: Path, read: Any) -> None:
    assert views(read(root, "BodyPartExamined=CHEST", select="ViewPosition=PA|LL")) == {"pa": 3, "lateral": 3}


def test_what_is_set_aside_is_counted_by_its_reason(root: Path, read: Any) -> None:
    cohort = read(root, select="BodyPartExamined=CHEST")
    assert told(cohort).startswith("12 image(s) are not meant")
    for part in ("6 with another BodyPartExamined", "3 FOR PROCESSING", "3 without BodyPartExamined"):
        assert part in told(cohort)
    assert cohort.files is not None
    assert cohort.files.counts["not-meant"] == 12
    assert cohort.files.counts["image"] == 6


def test_a_condition_that_no_image_fulfils_is_an_error(root: Path, read: Any) -> None:
    with pytest.raises(DataError) as caught:
        read(root, select="BodyPartExamined=CHEST; ViewPosition=RLO")
    assert caught.value.code == "IMG-SELECT"
    assert "ViewPosition=RLO" in caught.value.what
    assert "Thorax" not in str(caught.value)
    with pytest.raises(DataError, match="none of the 18 images is meant"):
        read(root, select="BodyPartExamined=HAND; ViewPosition=PA")


def test_a_value_that_no_image_has_is_said(root: Path, read: Any) -> None:
    assert "No image has ViewPosition=PAA." in told(read(root, select="ViewPosition=PA|PAA"))


def test_raw_images_stay_out_unless_they_are_asked_for(root: Path, read: Any) -> None:
    assert views(read(root)) == {"pa": 3, "lateral": 3, "hand": 3, "breast": 3, "bare": 3}
    for path in root.glob("*/raw*"):  # known by the SOP class alone
        write_picture(path, path.parent.name, DigitalXRayImageStorageForProcessing, **CHEST)
    cohort = read(root)
    assert "raw" not in views(cohort)
    assert "3 FOR PROCESSING" in told(cohort)
    both = read(root, select="PresentationIntentType=FOR PRESENTATION|FOR PROCESSING; BodyPartExamined=CHEST")
    assert views(both) == {"pa": 3, "lateral": 3, "raw": 3}


def test_a_side_that_contradicts_itself_is_none(root: Path, read: Any) -> None:
    write_picture(root / "A" / "breast0.dcm", "A", **VIEWS["breast"], Laterality="R")
    cohort = read(root, select="Laterality=L")
    assert views(cohort) == {"breast": 2}
    assert "without Laterality" in told(cohort)


def test_an_index_of_files_is_narrowed_as_well(root: Path, read: Any) -> None:
    rows = [f"{path.relative_to(root)},benign,{path.parent.name}" for path in sorted(root.glob("*/*.dcm"))]
    (root / "index.csv").write_text("\n".join(["image,label,patient", *rows]))
    assert views(read(root, layout="csv", select="ViewPosition=PA")) == {"pa": 3}
    assert "raw" not in views(read(root, layout="csv"))
    assert "3 FOR PROCESSING" in told(read(root, layout="csv"))


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("BodyPartExamined=HAND", {"hand": 3}),
        ("SeriesDescription=*seitlich", {"lateral": 3}),
        ("ViewPosition=PA", {"pa": 3}),
        ("ViewPosition=PA; PresentationIntentType=FOR PROCESSING", {"raw": 3}),
    ],
)
def test_a_cell_of_an_index_chooses_an_image_of_a_folder(root: Path, read: Any, cell: str, expected: Any) -> None:
    rows = [f"{patient},benign,{patient},{cell}" for patient in ("A", "BB", "CCC")]
    (root / "index.csv").write_text("\n".join(["image,label,patient,select", *rows]))
    assert views(read(root, layout="csv")) == expected


def test_a_cell_that_no_image_of_the_folder_fulfils_is_a_finding(root: Path, read: Any) -> None:
    rows = ["A,benign,A,ViewPosition=PA", "BB,benign,BB,ViewPosition=RLO"]
    (root / "index.csv").write_text("\n".join(["image,label,patient,select", *rows]))
    cohort = read(root, layout="csv")
    assert views(cohort) == {"pa": 1}
    assert [finding.code for finding in cohort.findings if finding.case] == ["INDEX-SELECT"]


def test_folders_of_patients_are_narrowed_before_one_series_is_asked_for(root: Path, read: Any) -> None:
    assert views(read(root, layout="folders", select="ViewPosition=LL")) == {"lateral": 3}
    unselected = read(root, layout="folders")
    assert not unselected.cases
    assert {finding.code for finding in unselected.findings if finding.case} == {"DCM-SERIES"}


@pytest.mark.parametrize("text", ["View=PA", "ViewPosition=", "ViewPosition=PA; viewposition=AP", "ViewPosition=PA||AP", "PA"])
def test_conditions_that_cannot_be_read_are_refused(root: Path, read: Any, make_study: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=r"task\.select"):
        make_study(task__select=text)
    with pytest.raises(ValueError, match="select"):
        read(root, select=text)


def test_a_study_without_conditions_keeps_its_record(make_study: Any) -> None:
    assert "select" not in make_study().task.model_dump()
    assert make_study(task__select="ViewPosition=PA").task.model_dump()["select"] == "ViewPosition=PA"


def test_pictures_have_no_header_and_need_a_word_of_the_site(tmp_path: Path, read: Any) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for n in range(3):
        Image.fromarray(np.full((6, 5), n, dtype=np.uint8)).save(folder / f"{n}.png")
    (folder / "index.csv").write_text("image,label,patient\n0.png,benign,p0\n1.png,malignant,p1\n2.png,benign,p2\n")
    with pytest.raises(DataError, match="3 without a DICOM header") as caught:
        read(folder, "ViewPosition=PA", layout="csv")
    assert 'select-missing = "use"' in caught.value.fix
    assert len(read(folder, "ViewPosition=PA", layout="csv", select_missing="use").cases) == 3
    assert len(read(folder, layout="csv").cases) == 3


def test_images_that_lack_an_attribute_are_used_where_the_site_says_so(root: Path, read: Any) -> None:
    cohort = read(root, "BodyPartExamined=CHEST", select_missing="use")
    assert views(cohort) == {"pa": 3, "lateral": 3, "bare": 3}


@pytest.fixture
def read_ct(tmp_path: Path, make_site: Any, make_study: Any) -> Callable[..., Cohort]:
    """Return a function that reads the tree below ``ct`` as classes of CT."""

    def read_it(dimension: int = 3, **data: Any) -> Cohort:
        kind = {"task__kind": "classification", "task__classes": "benign,malignant", "task__modality": "CT"}
        study = make_study(**kind, task__dimension=dimension)
        return read_cohort(make_site(tmp_path / "ct", layout="dicom", **data), study)

    return read_it


def write_ct(folder: Path, write_series: Any, change: Callable[[int, Dataset], None], patient: str) -> None:
    def name(k: int, ds: Dataset) -> None:
        ds.PatientID, ds.BodyPartExamined, ds.SeriesDescription = patient, "CHEST", "Lunge weich"
        change(k, ds)

    write_series(folder, name)


def test_a_slice_without_the_attribute_costs_its_series_and_is_not_left_out(
    tmp_path: Path, write_series: Any, read_ct: Any
) -> None:
    def lose_last(k: int, ds: Dataset) -> None:
        if k == 7:
            del ds.BodyPartExamined

    write_ct(tmp_path / "ct" / "a", write_series, lose_last, "a")
    write_ct(tmp_path / "ct" / "b", write_series, lambda k, ds: None, "b")
    (tmp_path / "ct" / "index.csv").write_text("patient,label\na,benign\nb,malignant\n")
    cohort = read_ct(select="BodyPartExamined=CHEST")
    assert [len(case.image.paths) for case in cohort.cases] == [8]
    assert [(finding.code, "1 file(s)" in finding.what) for finding in cohort.findings if finding.case] == [
        ("DCM-HEADER", True)
    ]
    assert len(read_ct().cases) == 2


def test_series_are_chosen_by_their_description(tmp_path: Path, write_series: Any, read_ct: Any) -> None:
    def hard(_: int, ds: Dataset) -> None:
        ds.SpecificCharacterSet, ds.SeriesDescription = "ISO_IR 100", "Schädel hart"

    for patient in "ab":
        write_ct(tmp_path / "ct" / patient / "1", write_series, lambda k, ds: None, patient)
        write_ct(tmp_path / "ct" / patient / "2", write_series, hard, patient)
    (tmp_path / "ct" / "index.csv").write_text("patient,label\na,benign\nb,malignant\n")
    assert len(read_ct().cases) == 4
    for select, folder in (("SeriesDescription=Lunge*", "1"), ("SeriesDescription=SCHÄDEL*", "2")):
        assert [case.image.paths[0].parent.name for case in read_ct(select=select).cases] == [folder, folder]


def test_localizers_are_no_images_of_a_flat_study_unless_they_are_asked_for(
    tmp_path: Path, write_series: Any, read_ct: Any
) -> None:
    def scout(k: int, ds: Dataset) -> None:
        if k < 2:
            ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    write_ct(tmp_path / "ct" / "a", write_series, scout, "a")
    (tmp_path / "ct" / "index.csv").write_text("patient,label\na,benign\n")
    cohort = read_ct(2)
    assert len(cohort.cases) == 6
    assert "2 localizer" in told(cohort)
    assert len(read_ct(2, select="ImageType=LOCALIZER").cases) == 2
    assert len(read_ct(2, select="ImageType=AXIAL").cases) == 6


def test_a_series_of_localizers_is_read_where_it_is_asked_for(tmp_path: Path, write_series: Any, read_ct: Any) -> None:
    def scout(_: int, ds: Dataset) -> None:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    for patient in "ab":
        study = generate_uid()
        for name, change in (("plain", lambda k, ds: None), ("scout", scout)):

            def both(k: int, ds: Dataset, change: Any = change, study: str = study) -> None:
                ds.StudyInstanceUID = study
                change(k, ds)

            write_ct(tmp_path / "ct" / patient / name, write_series, both, patient)
    (tmp_path / "ct" / "index.csv").write_text("patient,label\na,benign\nb,malignant\n")
    assert [case.image.paths[0].parent.name for case in read_ct().cases] == ["plain", "plain"]
    chosen = read_ct(select="ImageType=*\\LOCALIZER")
    assert [case.image.paths[0].parent.name for case in chosen.cases] == ["scout", "scout"]


def test_free_text_of_headers_is_in_no_message(root: Path, read: Any, make_site: Any) -> None:
    cohort = read(root, select="SeriesDescription=Thorax*")
    assert "seitlich" not in "".join(map(str, cohort.findings))
    with FileIndex(make_site(root)) as index:
        assert {item.header.text("SeriesDescription") for item in index.tree(root)} >= {"Thorax seitlich", "Hand p.a."}


def test_an_image_of_another_modality_is_asked_for_nothing(root: Path, read: Any) -> None:
    write_picture(root / "A" / "ct.dcm", "A", CTImageStorage, Modality="CT", BodyPartExamined="CHEST", ViewPosition="PA")
    assert views(read(root, select="ViewPosition=PA")) == {"pa": 3}


def test_where_all_images_are_for_processing_it_says_how_to_take_them(root: Path, read: Any) -> None:
    for path in root.rglob("*.dcm"):
        if not path.name.startswith("raw"):
            path.unlink()
    with pytest.raises(DataError) as caught:
        read(root)
    wanted = re.search(r'set select = "([^"]+)"', caught.value.fix)
    assert wanted
    assert views(read(root, select=wanted[1])) == {"raw": 3}
