"""An overview tells images, patients and classes of every layout, and repeats nobody's id."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from medfl.cli.app import app
from medfl.data.overview import Overview, make_overview
from medfl.data.quality.site_check import check_site
from medfl.site import Resources, Site, SiteData

SaveNifti = Callable[..., Path]
PATIENTS = 6
SEX = {k: "FM"[k % 2] for k in range(PATIENTS)}
CLASSES = {k: "tumour" if k == 0 else "none" for k in range(PATIENTS)}


@pytest.fixture
def volume() -> Any:
    return np.random.default_rng(1).normal(size=(8, 8, 8)).astype(np.float32)


def look(root: Path, **data: Any) -> Overview:
    site = Site(name="north", folder=root.parent, data=SiteData(root="data", **data), resources=Resources(store="store"))
    return make_overview(site)


def make_csv(root: Path, volume: Any, save: SaveNifti) -> dict[str, Any]:
    rows = ["image,patient,label,sex"]
    for k in range(PATIENTS):
        for visit in "ab":
            save(root / f"{k}{visit}.nii.gz", volume + k, np.eye(4))
            rows.append(f"{k}{visit}.nii.gz,CANARY-{k},{CLASSES[k]},{SEX[k]}")
    (root / "index.csv").write_text("\n".join(rows))
    return {}


def make_bids(root: Path, volume: Any, save: SaveNifti) -> dict[str, Any]:
    rows = ["participant_id\tdiagnosis\tsex\tbirth_date"]
    for k in range(PATIENTS):
        for visit in "ab":
            save(root / f"sub-CANARY{k}/ses-{visit}/anat/sub-CANARY{k}_ses-{visit}_T1w.nii.gz", volume + k, np.eye(4))
        rows.append(f"sub-CANARY{k}\t{CLASSES[k]}\t{SEX[k]}\t19{k}0-01-02")
    (root / "dataset_description.json").write_text('{"Name": "made", "BIDSVersion": "1.8.0"}')
    (root / "participants.tsv").write_text("\n".join(rows))
    return {"label": "diagnosis"}


def make_folders(root: Path, volume: Any, save: SaveNifti) -> dict[str, Any]:
    rows = ["patient,label,sex"]
    for k in range(PATIENTS):
        save(root / f"CANARY-{k}" / "image.nii.gz", volume + k, np.eye(4))
        save(root / f"CANARY-{k}" / "mask.nii.gz", (volume > 0).astype(np.uint8), np.eye(4))
        rows.append(f"CANARY-{k},{CLASSES[k]},{SEX[k]}")
    (root / "index.csv").write_text("\n".join(rows))
    return {}


@pytest.mark.parametrize(("make", "images", "masks"), [(make_csv, 12, 0), (make_bids, 12, 0), (make_folders, 6, 6)])
def test_every_layout_tells_images_patients_columns_and_classes(
    make: Callable[..., dict[str, Any]], images: int, masks: int, tmp_path: Path, volume: Any, save_nifti: SaveNifti
) -> None:
    found = look(tmp_path / "data", **make(tmp_path / "data", volume, save_nifti))
    assert found.listed is not None
    assert (found.listed.images, found.listed.patients, found.listed.masks) == (images, PATIENTS, masks)
    assert found.table is not None
    assert found.table.patients == PATIENTS
    assert {one.value: one.patients for one in found.table.classes} == {"none": 5, "tumour": 1}
    assert [column.name for column in found.table.columns if column.kind == "values"][-1] == "sex"
    (small,) = [warning for warning in found.warnings if "tumour" in warning]
    assert "of 1 patient: too few for each split" in small
    assert "CANARY" not in repr(found)
    assert "-01-02" not in repr(found)


def test_without_ids_of_patients_each_image_counts_as_one(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    for k in range(3):
        Image.fromarray(np.full((16, 16), k, np.uint8)).save(root / f"{k}.png")
    (root / "index.csv").write_text("image,label\n0.png,a\n1.png,a\n2.png,a\ngone.png,a\n")
    found = look(root, patient="")
    assert found.listed is not None
    assert (found.listed.images, found.listed.missing, found.listed.patients) == (3, 1, 3)
    assert found.listed.problems == {"IMG-MISSING": 1}
    assert not found.listed.patient_ids


def make_csv_of_masks(root: Path, volume: Any, save: SaveNifti) -> dict[str, Any]:
    rows = ["image,label,patient"]
    for k in range(PATIENTS):
        save(root / f"{k}.nii.gz", volume + k, np.eye(4))
        save(root / f"{k}-mask.nii.gz", (volume > 0).astype(np.uint8), np.eye(4))
        rows.append(f"{k}.nii.gz,{k}-mask.nii.gz,CANARY-{k}")
    (root / "index.csv").write_text("\n".join(rows))
    return {}


def make_bids_of_masks(root: Path, volume: Any, save: SaveNifti) -> dict[str, Any]:
    for k in range(PATIENTS):
        save(root / f"sub-{k}/anat/sub-{k}_T1w.nii.gz", volume + k, np.eye(4))
        save(root / f"derivatives/x/sub-{k}/anat/sub-{k}_dseg.nii.gz", (volume > 0).astype(np.uint8), np.eye(4))
    (root / "dataset_description.json").write_text("{}")
    (root / "dseg.tsv").write_text("index\tname\n1\ttumour\n")
    return {}


@pytest.mark.parametrize("make", [make_csv, make_csv_of_masks, make_bids, make_bids_of_masks, make_folders])
def test_the_account_of_files_is_that_of_a_check(
    make: Callable[..., dict[str, Any]], tmp_path: Path, volume: Any, save_nifti: SaveNifti, make_site: Any
) -> None:
    root = tmp_path / "data"
    site = make_site(root, **make(root, volume, save_nifti))
    found, (check, _) = make_overview(site), check_site(site, fast=True)
    assert found.account == check.files
    assert found.listed is not None
    assert found.account.counts["image"] == found.listed.images
    assert found.account.counts.get("label", 0) == found.listed.masks


def test_an_index_without_patients_is_told_and_described(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(root / "a.png")
    (root / "index.csv").write_text("image,label\na.png,benign\n")
    found = look(root)
    assert found.listed is None
    assert found.table is not None
    assert any("no column 'patient'" in warning for warning in found.warnings)


def test_the_command_shows_it_on_eighty_columns_and_in_json(
    tmp_path: Path, volume: Any, save_nifti: SaveNifti, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    make_csv(tmp_path / "data", volume, save_nifti)
    (tmp_path / "site.toml").write_text('name = "north"\n[data]\nroot = "data"\n')
    shown = CliRunner().invoke(app, ["data", "index", str(tmp_path / "site.toml")]).stdout
    assert "12 images of 6 patients." in shown
    assert "The table has 12 rows, 6 patients." in shown
    assert "none 10 (5 patients), tumour 2 (1 patient)" in shown
    assert "Label: label. Others could be: sex. No column gives splits." in shown
    assert "1 table or description of the data set" in shown
    document = json.loads(CliRunner().invoke(app, ["data", "index", str(tmp_path / "site.toml"), "--json"]).stdout)
    assert document["listed"]["patients"] == PATIENTS
    assert document["table"]["label_candidates"] == ["label", "sex"]
    assert "CANARY" not in shown + json.dumps(document)
