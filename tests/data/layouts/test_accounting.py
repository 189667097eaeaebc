"""Every file of a data folder is counted once, whatever it is: the sum is that of a walk which knows nothing of medfl."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage, SecondaryCaptureImageStorage
from typer.testing import CliRunner

from medfl.cli.app import app
from medfl.data.cohort import read_cohort
from medfl.data.file_account import FileAccount
from medfl.data.overview import make_overview
from medfl.data.quality.site_check import check_site
from medfl.report.disclosure import preview_disclosure
from medfl.report.quality_report import render_quality

IMAGE = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
MASK = np.array(IMAGE > 12, dtype=np.uint8)


def count_walked(root: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(root))


def account(site: Any, study: Any) -> FileAccount:
    files = read_cohort(site, study, account=True).files
    assert files is not None
    return files


def put(**values: Any) -> Any:
    def change(k: int, ds: Dataset) -> None:
        for keyword, value in values.items():
            setattr(ds, keyword, value)

    return change


def add_litter(root: Path, outside: Path) -> Counter[str]:
    """Add files that are nobody's, and return their numbers by reason; a folder `deep` takes most."""
    deep = root / "deep" / "er"
    (deep / ".git" / "objects").mkdir(parents=True)
    outside.write_bytes(b"x")
    (deep / ".git" / "objects" / "pack").write_bytes(b"x")
    for name in (".DS_Store", "Thumbs.db", "._a"):
        (deep / name).write_bytes(b"x")
    (deep / "link").symlink_to(outside)
    (deep / "broken").symlink_to("nowhere")
    (deep / "circle").symlink_to("circle")
    (deep / "there").symlink_to("note")
    (deep / "note").write_bytes(b"a note")
    (deep / "nothing").write_bytes(b"")
    (deep / "scans.zip").write_bytes(b"PK")
    (deep / "folder").symlink_to(root)
    os.mkfifo(deep / "pipe")
    names = {"hidden": 4, "link-out": 1, "link-broken": 2, "link-inside": 1, "other": 1, "empty": 1, "archive": 1, "special": 1}
    return Counter(names)


def make_dicom(root: Path, write_series: Any) -> Counter[str]:
    same = {"PatientID": "a", "StudyInstanceUID": "1.2.3"}
    write_series(root / "ct", put(**same))
    write_series(root / "scout", put(**same, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), count=2)
    write_series(root / "dose", put(**same, SOPClassUID=SecondaryCaptureImageStorage), count=1)
    write_series(root / "pet", put(**same, Modality="PT"), count=3)
    write_series(root / "report", put(**same, SOPClassUID=BasicTextSRStorage, Modality="SR"), count=1)
    for path in write_series(root / "bad", put(**same), count=2):
        path.write_bytes(path.read_bytes()[:200])
    write_series(root / "raw", put(**same), count=1)[0].write_bytes(b"no DICOM at all")
    (root / "ct" / "README").write_text("an export")
    (root / "index.csv").write_text("patient,label\na,x\n")
    reasons = {"image": 8, "scout": 2, "screen": 1, "other-modality": 3, "no-image": 1, "unreadable": 2}
    return Counter(reasons | {"not-dicom": 1, "other": 1, "table": 1})


def test_a_tree_of_dicom(tmp_path: Path, write_series: Any, make_site: Any, make_study: Any) -> None:
    root = tmp_path / "data"
    expected = make_dicom(root, write_series) + add_litter(root, tmp_path / "outside")
    study = make_study(task__kind="classification", task__classes="x,y", task__modality="CT")
    files = account(make_site(root, layout="dicom"), study)
    assert Counter(files.counts) == expected
    assert (files.total, files.folder_links, files.closed_folders) == (count_walked(root), 1, 0)
    overview = make_overview(make_site(root, layout="dicom")).account
    assert overview.total == files.total
    assert (overview.counts["image"], overview.counts["hidden"]) == (11, 4)  # of every modality


def make_index(root: Path, save: Any) -> Counter[str]:
    for n in range(3):
        save(root / "images" / f"{n}.nii.gz", IMAGE)
        save(root / "masks" / f"{n}.nii.gz", MASK)
    rows = [f"images/{n}.nii.gz,masks/{n}.nii.gz,{n}" for n in (0, 1, 9)]
    (root / "index.csv").write_text("image,label,patient\n" + "\n".join(rows))
    return Counter({"image": 2, "label": 2, "unused-image": 2, "table": 1})


def make_folders(root: Path, save: Any) -> Counter[str]:
    for n in range(2):
        save(root / f"p{n}" / "image.nii.gz", IMAGE)
        save(root / f"p{n}" / "label.nii.gz", MASK)
        save(root / f"p{n}" / "t2.nii.gz", IMAGE)
    return Counter({"image": 2, "label": 2, "unused-image": 2})


def make_nnunet(root: Path, save: Any) -> Counter[str]:
    for n in range(2):
        save(root / "imagesTr" / f"p{n}_0000.nii.gz", IMAGE)
        save(root / "labelsTr" / f"p{n}.nii.gz", MASK)
        save(root / "imagesTs" / f"q{n}_0000.nii.gz", IMAGE)
    save(root / "imagesTr" / "without-a-channel.nii.gz", IMAGE)
    about = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "organ": 1}, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(about))
    return Counter({"image": 2, "label": 2, "unused-image": 3, "table": 1})


def make_bids(root: Path, save: Any) -> Counter[str]:
    for n in range(2):
        save(root / f"sub-{n}" / "anat" / f"sub-{n}_T1w.nii.gz", IMAGE)
        (root / f"sub-{n}" / "anat" / f"sub-{n}_T1w.json").write_text("{}")
        save(root / "derivatives" / "x" / f"sub-{n}" / "anat" / f"sub-{n}_mask.nii.gz", MASK)
        save(root / f"sub-{n}" / "func" / f"sub-{n}_bold.nii.gz", IMAGE)
    (root / "dataset_description.json").write_text("{}")
    (root / "participants.tsv").write_text("participant_id\nsub-0\nsub-1\n")
    return Counter({"image": 2, "label": 2, "unused-image": 2, "table": 2, "unused-table": 2})


@pytest.mark.parametrize("make", [make_index, make_folders, make_nnunet, make_bids])
def test_other_layouts(make: Any, tmp_path: Path, save_nifti: Any, make_site: Any, make_study: Any) -> None:
    root = tmp_path / "data"
    expected = make(root, save_nifti) + add_litter(root, tmp_path / "outside")
    files = account(make_site(root, **({"layout": "folders"} if make is make_folders else {})), make_study())
    assert Counter(files.counts) == expected
    assert files.total == count_walked(root)


def test_images_that_an_index_names_in_hidden_folders_and_through_links(
    tmp_path: Path, save_nifti: Any, make_site: Any, make_study: Any
) -> None:
    root = tmp_path / "data"
    save_nifti(root / ".store" / "1.nii.gz", IMAGE)
    save_nifti(root / "masks" / "1.nii.gz", MASK)
    (root / "labels").symlink_to("masks")
    (root / "index.csv").write_text("image,label,patient\n.store/1.nii.gz,labels/1.nii.gz,a\n")
    files = account(make_site(root), make_study())
    assert (dict(files.counts), files.folder_links) == ({"image": 1, "label": 1, "table": 1}, 1)


def test_folders_that_cannot_be_opened_are_told(
    tmp_path: Path, save_nifti: Any, make_site: Any, make_study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_index(tmp_path / "data", save_nifti)
    (tmp_path / "data" / "more").mkdir()
    scan = os.scandir

    def refusing(folder: Any) -> Any:
        if str(folder).endswith("more"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    assert account(make_site(tmp_path / "data"), make_study()).closed_folders == 1


@pytest.mark.parametrize(("layout", "patients", "count"), [("dicom", "abc", 1), ("folders", "abcd", 2), ("dicom", "a", 0)])
def test_patients_of_the_table_of_whom_nothing_is_found(
    layout: str, patients: str, count: int, tmp_path: Path, write_series: Any, make_site: Any, make_study: Any
) -> None:
    root = tmp_path / "data"
    for name in "ab":
        write_series(root / name, put(PatientID=name))
    (root / "index.csv").write_text("patient,label\n" + "".join(f"{name},x\n" for name in patients))
    (root / "c.zip").write_bytes(b"PK")
    study = make_study(task__kind="classification", task__classes="x,y", task__modality="CT")
    findings = {f.code: f.what.split()[0] for f in read_cohort(make_site(root, layout=layout), study).findings}
    assert findings.get("ID-NO-IMAGE", "0") == str(count)
    assert findings["DATA-ARCHIVE"] == "1"


def test_subjects_of_bids_of_whom_nothing_is_found(tmp_path: Path, save_nifti: Any, make_site: Any, make_study: Any) -> None:
    root = tmp_path / "data"
    make_bids(root, save_nifti)
    (root / "sub-3" / "func").mkdir(parents=True)
    (root / "participants.tsv").write_text("participant_id\nsub-0\nsub-1\nsub-2\nsub-3\n")
    findings = {f.code: f.what.split()[0] for f in read_cohort(make_site(root), make_study()).findings}
    assert findings["ID-NO-IMAGE"] == "2"


def test_a_check_prints_the_account_and_reports_hold_it(
    tmp_path: Path, save_nifti: Any, make_site: Any, make_study: Any
) -> None:
    site, study = make_site(tmp_path / "data", name="north"), make_study()
    make_index(tmp_path / "data", save_nifti)
    check, _ = check_site(site, study, fast=True)
    assert check.files is not None
    assert str(check.files).startswith("7 files: 2 images, 2 labels, 1 table or")
    page = render_quality(check, preview_disclosure(check, study, site), site)
    assert "images that no case uses" in page
    empty, _ = check_site(make_site(tmp_path / "data", layout="dicom"), make_study(task__modality="CT"), fast=True)
    assert (empty.cases, empty.files.total if empty.files else 0) == ((), 7)  # nothing is usable, and still all is told


def test_ten_thousand_files_of_all_sorts(tmp_path: Path, write_series: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "data"
    make_dicom(root, write_series)
    add_litter(root, tmp_path / "outside")
    fixed = put(PatientID="p-100", StudyInstanceUID="1.2.100", SeriesInstanceUID="1.3.100")
    slices = [path.read_bytes() for path in write_series(tmp_path / "slices", fixed)]
    names = ("IM{:04d}", "{}.dcm", "x{}.jpg", "{}.nii.gz", ".h{}", "note{}", "{}.csv", "{}.dcm.gz")
    rng = np.random.default_rng(0)
    for series in range(100):
        folder = root / f"{series % 7}" / f"{series:04d}"
        folder.mkdir(parents=True)
        for k in range(100):
            content = b"x" * k
            if k % 8 < 2:
                content = (slices[k % 8], slices[k % 7][:131], b"")[k % 3]
                for start in ("p-", "1.2.", "1.3."):
                    content = content.replace(f"{start}100".encode(), f"{start}{series + 100}".encode())
            (folder / names[k % 8].format(k)).write_bytes(content if rng.random() < 0.9 else b"")
    (tmp_path / "site.toml").write_text('name = "north"\n[data]\nroot = "data"\nlayout = "dicom"\n')
    (tmp_path / "site.secret").write_bytes(bytes(range(32)))
    monkeypatch.setenv("MEDFL_STORE", str(tmp_path / "store"))
    result = CliRunner().invoke(app, ["data", "check", str(tmp_path / "site.toml"), "--json", "--fast", "--modality", "CT"])
    document = json.loads(result.stdout)
    assert document["files"]["total"] == sum(document["files"]["by-reason"].values()) == count_walked(root) >= 10_000
    assert {"image", "empty", "archive", "hidden", "not-dicom", "special"} <= set(document["files"]["by-reason"])


def test_cases_that_dataset_json_states_and_that_are_not_here(
    tmp_path: Path, save_nifti: Any, make_site: Any, make_study: Any
) -> None:
    root = tmp_path / "data"
    make_nnunet(root, save_nifti)
    about = json.loads((root / "dataset.json").read_text())
    for stated, codes in ((2, []), (3, ["2 are here."])):
        (root / "dataset.json").write_text(json.dumps(about | {"numTraining": stated}))
        findings = read_cohort(make_site(root), make_study()).findings
        assert [f.what[-11:] for f in findings if f.code == "LAYOUT-FEWER"] == codes


def test_dicom_that_no_row_names_is_told_as_not_opened(
    tmp_path: Path, write_series: Any, make_site: Any, make_study: Any
) -> None:
    root = tmp_path / "data"
    for patient in "ab":
        write_series(root / patient, put(PatientID=patient))
    for n, path in enumerate(write_series(root / "c", put(PatientID="c"), count=3)):
        path.rename(path.with_name(f"1.2.826.0.{n}") if n else path)
    single = write_series(root / "d", put(PatientID="d"), count=4)
    (root / "c" / "notes").write_text("x")
    (root / "index.csv").write_text(f"image,patient,label\na,a,x\nb,b,y\nd/{single[0].name},d,x\n")
    study = make_study(task__kind="classification", task__classes="x,y", task__modality="CT")
    files = account(make_site(root), study)
    assert Counter(files.counts) == {"image": 17, "not-opened": 3 + 3, "other": 1, "table": 1}
    assert files.total == count_walked(root)
