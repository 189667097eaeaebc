"""A check says what preparing will do: the cases that one of them leaves out, the other leaves out for the same reason."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medfl.data.dicom.series import read_series
from medfl.data.quality import foretelling
from medfl.data.quality.facts import SiteCheck
from medfl.data.quality.site_check import check_site
from medfl.data.store import prepared_size
from medfl.data.store.forecast import Forecast
from medfl.data.store.prepare import prepare_cases
from medfl.data.store.prepared_data import PreparedData
from medfl.site import Policy, Site
from medfl.study import Study
from tests.data.dicom.drawing import write_seg
from tests.data.dicom.phantom import write_slices

StudyMaker = Callable[..., Study]
SiteMaker = Callable[..., Site]
SHAPE = (20, 24, 10)  # of 1 x 1 x 2 mm
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


@pytest.fixture
def site(tmp_path: Path, save_nifti: Callable[..., Path], make_site: SiteMaker) -> Site:
    """Return a site with three volumes, in which a box of 8 x 10 x 5 voxels is above 0."""
    root = tmp_path / "data"
    rows = ["image,label,patient"]
    for k in range(3):
        image = np.zeros(SHAPE, np.float32)
        image[4:12, 6:16, 2:7] = np.random.default_rng(k).uniform(1, 9, (8, 10, 5))
        mask = (image > 5).astype(np.uint8)
        save_nifti(root / f"i{k}.nii.gz", image, AFFINE)
        save_nifti(root / f"m{k}.nii.gz", mask, AFFINE)
        rows.append(f"i{k}.nii.gz,m{k}.nii.gz,P{k}")
    (root / "index.csv").write_text("\n".join(rows))
    lenient = Policy(min_count=0, min_cases=1, max_excluded=1.0)
    return make_site(root).model_copy(update={"policy": lenient})


def codes(found: SiteCheck | PreparedData) -> set[tuple[str, str]]:
    findings = found.all_findings if isinstance(found, SiteCheck) else found.findings
    return {(finding.code, finding.case) for finding in findings if finding.case}


@pytest.mark.parametrize(
    ("preprocessing", "code"),
    [
        ({"spacing": "0.01,0.01,0.01"}, "PREP-SIZE"),  # 200 times too fine: 4 thousand million voxels
        ({"spacing": "1000,1000,2000"}, "PREP-SIZE"),  # micrometres taken for millimetres: nothing would be left
        ({"spacing": "1,1,50"}, "PREP-SIZE"),
        ({"spacing": "1,1,1"}, ""),
    ],
    ids=str,
)
def test_check_and_prepare_leave_out_the_same_cases(
    site: Site, make_study: StudyMaker, preprocessing: dict[str, str], code: str
) -> None:
    study = make_study(**{f"preprocessing__{key}": value for key, value in preprocessing.items()})
    check, prepared = check_site(site, study)[0], prepare_cases(site, study)
    assert {found for found, _ in codes(check)} == ({code} if code else set())
    assert codes(check) == codes(prepared)
    assert len(check.usable) == len(prepared.cases) == (0 if code else 3)
    assert len(check_site(site, study, fast=True)[0].usable) == len(check.usable)


@pytest.mark.parametrize(
    "preprocessing",
    [{}, {"spacing": "0.7,1,1.5"}, {"crop": "nonzero"}, {"crop": "nonzero", "spacing": "1,0.6,3"}, {"size": "16,16,16"}],
    ids=str,
)
def test_foretold_shapes_and_patches_are_those_of_preparing(
    site: Site, make_study: StudyMaker, preprocessing: dict[str, str]
) -> None:
    study = make_study(training__patch="16,16,16", **{f"preprocessing__{k}": v for k, v in preprocessing.items()})
    check, prepared = check_site(site, study)[0], prepare_cases(site, study)
    assert {case.case: case.prepared for case in check.usable} == {case.name: case.image.shape[1:] for case in prepared.cases}
    assert codes(check) == codes(prepared)


def test_memory_that_is_not_there_is_said_by_both(site: Site, make_study: StudyMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    study = make_study(preprocessing__spacing="0.5,0.5,0.5")
    for module in (foretelling, prepared_size):
        monkeypatch.setattr(module, "available_memory", lambda: 100_000)
    monkeypatch.setattr(foretelling, "total_memory", lambda: 200_000)
    check, prepared = check_site(site, study, workers=1)[0], prepare_cases(site, study)
    assert {code for code, _ in codes(check)} == {"CASE-MEMORY"}
    assert codes(check) == codes(prepared)
    assert not check.usable
    monkeypatch.setattr(foretelling, "total_memory", lambda: 10**9)
    busy = check_site(site, study, workers=1)[0]
    assert len(busy.usable) == 3  # it is merely not free now
    assert {finding.level for finding in busy.all_findings} == {"warning"}
    monkeypatch.undo()
    assert len(prepare_cases(site, study).cases) == 3  # the refusal was not remembered


OUT_OF_MEMORY = RuntimeError("DefaultCPUAllocator: can't allocate memory: tried 5 bytes")


@pytest.mark.parametrize("error", [MemoryError(), OUT_OF_MEMORY], ids=["numpy", "torch"])
@pytest.mark.parametrize("where", ["medfl.data.nifti_content.NiftiContent.read", "medfl.data.load.read_label"])
def test_lack_of_memory_is_called_that(
    site: Site, make_study: StudyMaker, monkeypatch: pytest.MonkeyPatch, error: Exception, where: str
) -> None:
    monkeypatch.setattr(where, raising(error))
    study = make_study()
    assert {code for code, _ in codes(check_site(site, study, workers=1)[0])} == {"CASE-MEMORY"}
    assert {code for code, _ in codes(prepare_cases(site, study))} == {"CASE-MEMORY"}


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    "where",
    [
        "medfl.data.dicom.pixels.open_decoder",
        "medfl.data.dicom.stored_values.FrameDecoder.decode",
        "medfl.data.dicom.label_dataset.parse_file",
        "medfl.data.dicom.label_dataset.find_references",
        "medfl.data.dicom.seg_pixels._build_lookup_table",
        "medfl.data.dicom.pixels.parse_file",
    ],
)
def test_no_reader_of_dicom_takes_lack_of_memory_for_damage(
    tmp_path: Path, make_site: SiteMaker, make_study: StudyMaker, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    root = tmp_path / "data"
    paths = write_slices(root / "series")
    marked = np.zeros((20, 24, 10), np.uint8)
    marked[3:9, 3:9, 3:6] = 1
    write_seg(root / "seg.dcm", paths, {"organ": marked})
    (root / "index.csv").write_text("image,label,patient\nseries,seg.dcm,P\n")
    lenient = make_site(root).model_copy(update={"policy": Policy(min_count=0, min_cases=1, max_excluded=1.0)})
    study = make_study(task__modality="CT")
    assert check_site(lenient, study, workers=1)[0].usable
    monkeypatch.setattr(where, raising(MemoryError()))
    assert {code for code, _ in codes(check_site(lenient, study, workers=1)[0])} == {"CASE-MEMORY"}


@pytest.mark.parametrize("where", ["medfl.data.pictures.decoding._decode", "medfl.data.pictures.decoding._read_file"])
def test_no_reader_of_pictures_takes_lack_of_memory_for_damage(
    tmp_path: Path, make_site: SiteMaker, make_study: StudyMaker, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 20)).astype(np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "index.csv").write_text("image,label,patient\na.png,benign,P\n")
    task = {"task__kind": "classification", "task__classes": "benign,malignant", "task__modality": "US", "task__dimension": 2}
    monkeypatch.setattr(where, raising(MemoryError()))
    check, _ = check_site(make_site(tmp_path), make_study(**task), workers=1)
    assert {code for code, _ in codes(check)} == {"CASE-MEMORY"}


def test_fast_check_of_a_cropped_image_only_warns(site: Site, make_study: StudyMaker) -> None:
    study = make_study(preprocessing__spacing="0.01,0.01,0.01", preprocessing__crop="nonzero")
    check = check_site(site, study, fast=True)[0]
    assert {(finding.code, finding.level) for finding in check.all_findings} == {("PREP-SIZE", "warning")}
    assert all(case.prepared == () for case in check.cases)


def test_a_dicom_series_is_foretold_by_its_spacing(
    tmp_path: Path, save_nifti: Callable[..., Path], make_site: SiteMaker, make_study: StudyMaker
) -> None:
    root = tmp_path / "data"
    volume = read_series(write_slices(root / "series"))
    save_nifti(root / "mask.nii.gz", (volume.array[0] > volume.array.mean()).astype(np.uint8), volume.affine)
    (root / "index.csv").write_text("image,label,patient\nseries,mask.nii.gz,P\n")
    lenient = make_site(root).model_copy(update={"policy": Policy(min_count=0, min_cases=1)})
    study = make_study(task__modality="CT", preprocessing__spacing="3,1,2")
    announced: list[Forecast] = []
    (case,) = prepare_cases(lenient, study, announce=announced.append).cases
    for fast in (False, True):
        (found,) = check_site(lenient, study, fast=fast)[0].cases
        assert found.prepared == case.image.shape[1:]
    assert (
        announced[0].size == case.image.nbytes + case.image.size + volume.array.size
    )  # the mask, also on the grid of the series


def test_a_store_without_room_is_said_before_preparing(
    site: Site, make_study: StudyMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study()
    assert check_site(site, study)[0].refusal is None
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=70_000, total=10**9))
    refusal = check_site(site, study)[0].refusal
    assert refusal is not None
    assert refusal.code == "DISK-FULL"
    monkeypatch.undo()
    prepare_cases(site, study)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=70_000, total=10**9))
    assert check_site(site, study)[0].refusal is None  # what is in the store needs no room


def test_a_library_that_preparing_needs_is_asked_for(
    site: Site, make_study: StudyMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    refusal = check_site(site, make_study(preprocessing__bias_correction="n4"), workers=1)[0].refusal
    assert refusal is not None
    assert refusal.code == "SITE-EXTRA"
