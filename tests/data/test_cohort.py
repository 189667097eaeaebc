"""A cohort holds what can be used, and says of all else what is wrong without a path or a patient."""

from __future__ import annotations

import io
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from medfl.data.cases import Cohort
from medfl.data.cohort import read_cohort
from medfl.data.load import load_case
from medfl.data.quality.site_check import check_site
from medfl.data.splits import assign_splits
from medfl.errors import DataError
from medfl.site import SimulatedSite
from medfl.study import Simulation

BOX = np.arange(120, dtype=np.int16).reshape(3, 4, 10)
MASK = (BOX > 30).astype(np.uint8)


def codes(cohort: Cohort) -> dict[str, int]:
    return dict(Counter(finding.code for finding in cohort.findings))


@pytest.fixture
def csv_site(tmp_path: Path, save_nifti: Any, make_site: Any) -> Any:
    """Return a function that makes a site with images 1 to 4, masks 1 to 3 and the given index."""

    def make(index: str, **options: Any) -> Any:
        root = tmp_path / "data"
        for n in range(1, 5):
            save_nifti(root / "images" / f"{n}.nii.gz", BOX + n)
        for n in range(1, 4):
            save_nifti(root / "masks" / f"{n}.nii.gz", MASK if n < 3 else (BOX > 50).astype(np.uint8))
        (root / "index.csv").write_text(index)
        return make_site(root, **options)

    return make


def test_csv_with_columns(csv_site: Any, make_study: Any) -> None:
    index = "image,label,patient\nimages/1.nii.gz,masks/1.nii.gz,CANARY-1\nimages/2.nii.gz,masks/2.nii.gz,CANARY-2\n"
    site, study = csv_site(index), make_study()
    cohort = read_cohort(site, study)
    assert (len(cohort.cases), cohort.findings, cohort.patient_ids) == (2, (), True)
    assert len({case.patient for case in cohort.cases}) == 2
    for case in cohort.cases:
        volume, mask = load_case(case, study, site)
        assert volume.shape == BOX.shape
        np.testing.assert_array_equal(mask, MASK)
        assert "CANARY" not in case.name + case.patient + case.split_order
    assert read_cohort(site, study) == cohort


def test_csv_with_patterns_and_semicolons(csv_site: Any, make_study: Any) -> None:
    site = csv_site(
        "id;keep\n1;y\n2;y\n3;n\n", image="images/{id}.nii.gz", label="masks/{id}.nii.gz", patient="id", where="keep=y"
    )
    assert len(read_cohort(site, make_study()).cases) == 2


def test_rows_that_cannot_be_used_are_findings(csv_site: Any, make_study: Any) -> None:
    rows = [
        "images/1.nii.gz,masks/1.nii.gz,a",
        "images/1.nii.gz,masks/1.nii.gz,a",  # twice
        "images/2.nii.gz,masks/2.nii.gz,a",
        "images/2.nii.gz,masks/3.nii.gz,a",  # with two masks
        "images/3.nii.gz,masks/3.nii.gz,",
        "images/4.nii.gz,,b",
        "images/9.nii.gz,masks/1.nii.gz,c",
        ",masks/2.nii.gz,d",
        "../secret.nii.gz,masks/1.nii.gz,e",
        "/etc/passwd,masks/1.nii.gz,f",
    ]
    cohort = read_cohort(csv_site("image,label,patient\n" + "\n".join(rows)), make_study())
    assert len(cohort.cases) == 1
    expected = {"CASE-DUP": 1, "CASE-CONFLICT": 1, "ID-MISSING": 1, "LBL-MISSING": 1, "IMG-MISSING": 2, "INDEX-PATH": 2}
    assert codes(cohort) == expected | {"SITE-ONE-PATIENT": 1}
    assert all(finding.case.startswith("case-") for finding in cohort.findings if finding.level == "error")
    assert not any("nii" in str(finding) for finding in cohort.findings)


def test_a_link_out_of_the_data_folder_is_refused(csv_site: Any, make_study: Any, tmp_path: Path, save_nifti: Any) -> None:
    site = csv_site("image,label,patient\nimages/out.nii.gz,masks/1.nii.gz,a\n")
    (tmp_path / "data" / "images" / "out.nii.gz").symlink_to(save_nifti(tmp_path / "outside.nii.gz", BOX))
    assert codes(read_cohort(site, make_study())) == {"INDEX-PATH": 1}


def test_classes_from_texts_with_a_number_only_where_it_is_said(csv_site: Any, make_study: Any) -> None:
    index = "image,label,patient\nimages/1.nii.gz,Benign,a\nimages/2.nii.gz,1,b\nimages/3.nii.gz,odd,c\nimages/4.nii.gz,,d\n"
    study = make_study(task__kind="classification", task__classes="benign,malignant,normal")
    cohort = read_cohort(csv_site(index), study)
    assert [case.label for case in cohort.cases] == [0]
    assert codes(cohort)["LBL-CLASS"] == 2
    positions = make_study(task__kind="classification", task__classes="benign,malignant,normal", task__labels="positions")
    cohort = read_cohort(csv_site(index), positions)
    assert sorted(case.label for case in cohort.cases) == [0, 1]  # type: ignore[type-var]
    assert codes(cohort) == {"LBL-CLASS": 1, "LBL-MISSING": 1, "LBL-NO-CLASS": 1}
    assert [f.level for f in cohort.findings if f.code == "LBL-NO-CLASS"] == ["warning"]


def test_without_patient_ids_an_image_is_a_patient(csv_site: Any, make_study: Any) -> None:
    index = "image,label\nimages/1.nii.gz,masks/1.nii.gz\nimages/2.nii.gz,masks/2.nii.gz\n"
    cohort = read_cohort(csv_site(index, patient=""), make_study())
    assert not cohort.patient_ids
    assert len({case.patient for case in cohort.cases}) == 2
    with pytest.raises(DataError, match=r"INDEX-COLUMN.*'patient'"):
        read_cohort(csv_site(index), make_study())


def test_the_column_split_is_honoured(csv_site: Any, make_study: Any) -> None:
    index = "image,label,patient,split\nimages/1.nii.gz,masks/1.nii.gz,a,train\nimages/2.nii.gz,masks/2.nii.gz,b,Test\n"
    index += "images/3.nii.gz,masks/3.nii.gz,c,\n"
    cohort = read_cohort(csv_site(index), make_study())
    assert codes(cohort) == {"SPLIT-VALUE": 1}
    (empty,) = cohort.findings
    assert empty.what == "the column 'split' is empty in this row."
    assert sorted(assign_splits(cohort.cases, make_study(), "north").values()) == ["test", "train"]


def test_a_word_that_is_no_split_is_told_with_the_words_that_are(csv_site: Any, make_study: Any) -> None:
    cohort = read_cohort(csv_site("image,label,patient,split\nimages/1.nii.gz,masks/1.nii.gz,a,Pruefung\n"), make_study())
    (unknown,) = cohort.findings
    assert unknown.what == "the column 'split' holds a word that medfl does not know."
    assert all(word in unknown.fix for word in ("train", "validation", "test", "dev", "unlabelled"))
    assert "Pruefung" not in unknown.what + unknown.fix


def test_no_class_is_missed_where_there_is_no_case(csv_site: Any, make_study: Any) -> None:
    rows = [f"gone/{n}.nii.gz,{'ab'[n % 2]},p{n}" for n in range(4)]
    study = make_study(task__kind="classification", task__classes="a,b")
    assert codes(read_cohort(csv_site("\n".join(["image,label,patient", *rows])), study)) == {"IMG-MISSING": 5}


def test_random_halves_deal_every_patient_once_and_classes_evenly(csv_site: Any, make_study: Any) -> None:
    rows = [f"images/{n % 4 + 1}.nii.gz,{'ab'[n % 2]},p{n % 4}" for n in range(4)]
    study = make_study(task__kind="classification", task__classes="a,b")
    index = "image,label,patient\n" + "\n".join(rows)
    site, settings = csv_site(index), Simulation(partition="random", sites=2)
    halves = [site.model_copy(update={"simulated": SimulatedSite(simulation=settings, number=k)}) for k in range(2)]
    dealt = [read_cohort(half, study).cases for half in halves]
    assert [sorted(case.label for case in cases) for cases in dealt] == [[0, 1], [0, 1]]  # type: ignore[type-var]
    assert len({case.name for cases in dealt for case in cases}) == 4


def test_one_id_for_many_studies_is_refused(tmp_path: Path, write_series: Any, make_site: Any, make_study: Any) -> None:
    for n in range(3):
        write_series(tmp_path / "data" / str(n), count=1)
    with pytest.raises(DataError, match=r"ID-CONSTANT.*3 studies"):
        read_cohort(make_site(tmp_path / "data"), make_study(task__modality="CT"))


def test_folders_that_hold_nothing_are_refused_without_telling_their_path(
    tmp_path: Path, make_site: Any, make_study: Any
) -> None:
    for folder in ("empty", "strange"):
        (tmp_path / folder).mkdir()
    (tmp_path / "strange" / "notes.txt").write_text("no images")
    for folder, code in {"empty": "DATA-EMPTY", "strange": "DATA-LAYOUT", "gone": "DATA-ROOT"}.items():
        with pytest.raises(DataError) as caught:
            read_cohort(make_site(tmp_path / folder), make_study())
        assert caught.value.code == code
        assert str(tmp_path) not in str(caught.value)


def test_no_header_value_reaches_cases_or_findings(tmp_path: Path, write_series: Any, make_site: Any, make_study: Any) -> None:
    root = tmp_path / "data"
    paths = write_series(root / "CANARY-FOLDER", count=10)
    (root / "index.csv").write_text("image,label,patient\nCANARY-FOLDER,a,CANARY-MRN\n")
    paths[2].unlink()
    study = make_study(task__kind="classification", task__classes="a,b", task__modality="CT")
    site = make_site(root)
    cohort = read_cohort(site, study)
    uid = str(pydicom.dcmread(paths[0]).SeriesInstanceUID)
    with pytest.raises(DataError, match="DCM-MISSING-SLICES") as caught:
        load_case(cohort.cases[0], study, site)
    text = str(caught.value) + repr(caught.value) + cohort.cases[0].name + cohort.cases[0].patient + str(cohort.findings)
    assert "CANARY" not in text
    assert uid not in text


def test_the_order_of_the_cases_does_not_depend_on_the_secret(csv_site: Any, make_study: Any, tmp_path: Path) -> None:
    site = csv_site("image,label,patient\n" + "".join(f"images/{n}.nii.gz,masks/{n}.nii.gz,{n}\n" for n in (1, 2, 3)))
    orders = set()
    for secret in range(10):
        (tmp_path / "secret").write_bytes(bytes([secret]) * 32)
        orders.add(tuple(case.image.paths for case in read_cohort(site, make_study()).cases))
    assert len(orders) == 1


def test_a_folder_that_cannot_be_listed_is_reported(
    csv_site: Any, make_study: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    site = csv_site("image,label,patient\nimages/1.nii.gz,masks/1.nii.gz,a\n", layout="folders")
    scan = os.scandir

    def refusing(folder: Any) -> Any:
        if str(folder).endswith("masks"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    cohort = read_cohort(site, make_study())
    closed = [finding for finding in cohort.findings if finding.code == "DATA-CLOSED"]
    assert [(finding.level, finding.what[:11]) for finding in closed] == [("warning", "1 folder(s)")]
    assert codes(cohort)["IMG-READ"] == 1  # it is a patient's: the others count
    assert str(tmp_path) not in str(cohort.findings)


@pytest.mark.parametrize("trouble", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_data_folder_that_cannot_be_read_is_reported_without_its_path(
    csv_site: Any, make_study: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trouble: OSError
) -> None:
    site = csv_site("image,label,patient\nimages/1.nii.gz,masks/1.nii.gz,a\n", layout="folders")
    scan = os.scandir

    def refusing(folder: Any) -> Any:
        if os.fspath(folder) == str(site.root) if trouble.errno == 13 else str(folder).endswith("masks"):
            raise type(trouble)(trouble.errno, trouble.strerror, str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match="DATA-READ") as caught:
        read_cohort(site, make_study())
    assert str(tmp_path) not in str(caught.value)
    (whole,) = check_site(site)[0].findings
    assert (whole.code, str(tmp_path) in str(whole)) == ("DATA-READ", False)


def test_a_file_that_cannot_be_opened_is_reported(
    tmp_path: Path, write_series: Any, make_site: Any, make_study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    last = sorted(write_series(root / "ct"), key=lambda path: path.name.split("-")[1])[-1]  # nothing else would miss it
    (root / "index.csv").write_text("patient,label\nCANARY-MRN,a\n")
    opened, real = last.name, io.open

    def failing(path: Any, *args: Any, **kwargs: Any) -> Any:
        if str(path).endswith(opened):
            raise OSError(5, "Input/output error", str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(io, "open", failing)
    monkeypatch.setattr("builtins.open", failing)
    study = make_study(task__kind="classification", task__classes="a,b", task__modality="CT")
    assert codes(read_cohort(make_site(root, layout="dicom"), study))["DCM-READ"] == 1


def test_the_site_names_every_class_of_the_study(csv_site: Any, make_study: Any) -> None:
    study = make_study(task__kind="classification", task__classes="a,b")
    index = "image,label,patient\nimages/1.nii.gz,C,a\n"
    with pytest.raises(DataError, match=r"SITE-CLASSES.*3 classes, the study has 2"):
        read_cohort(csv_site(index, classes=("A", "B", "C")), study)


@pytest.mark.parametrize(
    ("name", "code"), [("a\0b.nii", "INDEX-PATH"), ("circle/a.nii", "INDEX-PATH"), ("y" * 300 + ".nii", "IMG-MISSING")]
)
def test_a_name_that_no_file_can_have_costs_its_case_only(
    csv_site: Any, make_study: Any, tmp_path: Path, name: str, code: str
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "circle").symlink_to("circle")
    rows = "images/1.nii.gz,masks/1.nii.gz,a\n" + f"{name},masks/2.nii.gz,b\n"
    cohort = read_cohort(csv_site("image,label,patient\n" + rows), make_study())
    assert (len(cohort.cases), codes(cohort)[code]) == (1, 1)


def test_a_missing_column_is_reported_with_those_that_exist(csv_site: Any, make_study: Any, tmp_path: Path) -> None:
    index = "image,lung_mask,patient\nimages/1.nii.gz,masks/1.nii.gz,a\n"
    site = csv_site(index)
    fix = r"The index has: image, lung_mask, patient\. Did you mean 'lung_mask'\? Set label = \"lung_mask\" in \[simulation\]"
    with pytest.raises(DataError, match=fix):
        read_cohort(site, make_study())
    (tmp_path / "data" / "site.toml").write_text('name = "north"')
    with pytest.raises(DataError, match=r"Did you mean 'lung_mask'\? Set label = \"lung_mask\" in \[data\]\.$"):
        read_cohort(csv_site(index, label="lung-mask"), make_study())
    assert codes(read_cohort(csv_site(index, label=""), make_study())) == {"LBL-MISSING": 1}
    found, _ = check_site(site)  # before any study: the images alone
    assert [finding.code for finding in found.all_findings if finding.level == "error"] == ["LBL-MISSING"]


def test_classes_that_the_study_lacks_can_be_left_out(csv_site: Any, make_study: Any) -> None:
    study = make_study(task__kind="classification", task__classes="benign,malignant")
    cohort = read_cohort(csv_site("image,label,patient\nimages/1.nii.gz,normal,a\n"), study)
    fix = next(finding.fix for finding in cohort.findings if finding.code == "LBL-CLASS")
    assert 'where = "label=benign|malignant" in [data]' in fix


def test_a_first_row_that_is_a_patient_is_not_repeated(csv_site: Any, make_study: Any) -> None:
    with pytest.raises(DataError, match=r"INDEX-COLUMN.*is its first row the names of the columns") as caught:
        read_cohort(csv_site("images/1.nii.gz,Doe Jane,CANARY-1\n", layout="csv"), make_study())
    assert "Doe" not in str(caught.value)
    assert "CANARY" not in str(caught.value)
