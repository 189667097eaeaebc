"""Preparing a site: from files to mapped cases, twice as fast the second time, and honest about what is left out."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.data.findings import Finding
from medfl.data.store import cache_folder as cache_folder_module
from medfl.data.store import case_arrays as case_arrays_module
from medfl.data.store import case_cache as case_cache_module
from medfl.data.store.prepare import check_policy, prepare, prepare_cases
from medfl.data.store.prepared_data import PreparedData
from medfl.data.volume import Volume
from medfl.errors import DataError, DiskFullError
from medfl.site import Resources, Site, SiteData
from medfl.study import Study
from medfl.study.sections import Evaluation
from tests.data.store.store_site import config_of, forbid_reading, mask_of, site_of, spoil, study_of, write_nifti


def test_all_cases_come_prepared_and_split_by_patient(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    prepared = prepare(site_of(tmp_path / "north"), study_of(), lambda done, total: steps.append((done, total)))
    assert prepared.site == "north"
    assert len(prepared.cases) == 8
    assert prepared.findings == ()
    assert prepared.patient_ids
    assert steps == [(n, 8) for n in range(1, 9)]
    assert sum(prepared.count_patients(split) for split in ("train", "validation", "test")) == 8
    assert prepared.count_patients("test") == 2
    case = prepared.cases[0]
    assert case.image.shape == (1, 8, 9, 10)
    assert case.image.dtype == np.float32
    assert abs(float(case.image.mean())) < 1e-5
    assert isinstance(case.label, np.ndarray)
    assert case.label.dtype == np.uint8
    assert case.spacing == (1.0, 1.0, 2.0)
    assert case.reference is None  # only turned, not resampled


def test_mask_is_mirrored_with_the_image(tmp_path: Path) -> None:
    prepared = prepare(site_of(tmp_path / "north", 3), study_of())
    expected = mask_of(0)[::-1] > 0
    assert all(np.array_equal((case.label == 1) | (case.label == 2), case.label > 0) for case in prepared.cases)
    assert any(np.array_equal(case.label > 0, expected) for case in prepared.cases)


def test_second_start_reads_no_source_and_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = site_of(tmp_path / "north")
    first = prepare(site, study_of(dtype="float16"))
    forbid_reading(monkeypatch)
    second = prepare(site, study_of(dtype="float16"))
    assert [(c.name, c.patient, c.split, c.spacing) for c in first.cases] == [
        (c.name, c.patient, c.split, c.spacing) for c in second.cases
    ]
    for one, other in zip(first.cases, second.cases, strict=True):
        assert one.image.dtype == np.float16
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.label, other.label)


def test_second_start_imports_neither_torch_nor_monai(tmp_path: Path) -> None:
    site = site_of(tmp_path / "north", 4)
    prepare(site, study_of())
    done = run_prepare(site, "import sys; assert not {'torch', 'monai'} & set(sys.modules), 'imported'")
    assert done.wait(300) == 0


def test_resampled_grid_keeps_the_original_mask_for_the_test(tmp_path: Path) -> None:
    prepared = prepare(site_of(tmp_path / "north"), study_of(spacing="2,2,2"))
    case = prepared.cases[0]
    assert case.spacing == pytest.approx((2, 2, 2))
    reference = case.reference
    assert reference is not None
    assert reference.label.shape == (8, 9, 10)
    assert reference.spacing == (1.0, 1.0, 2.0)
    assert int((reference.label == 1).sum()) == 27
    # RAS: the first voxel of both grids lies at the left end, 7 mm to the left of the origin
    np.testing.assert_allclose(reference.affine, [[1, 0, 0, -7], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(reference.prepared_affine, [[2, 0, 0, -7], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]], atol=1e-6)


def test_foreground_positions_lie_in_their_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(case_arrays_module, "MAX_POSITIONS", 10)
    for case in prepare(site_of(tmp_path / "north", 3), study_of()).cases:
        assert list(case.foreground) == [1, 2]
        assert case.foreground[1].shape == (10, 3)
        assert case.foreground[2].shape == (1, 3)
        for index, places in case.foreground.items():
            assert isinstance(case.label, np.ndarray)
            assert (case.label[tuple(places.T)] == index).all()


def test_counting_classes_is_the_same_for_few_and_many() -> None:
    mask = np.random.default_rng(0).integers(0, 20, (3, 4, 5)).astype(np.uint8)
    many, few = case_arrays_module._count_voxels(mask, 20), case_arrays_module._count_voxels(mask, 16)
    np.testing.assert_array_equal(many[:, :16], few)
    assert int(many.sum()) == 60
    assert few[1, 3] == int((mask[1] == 3).sum())


def test_classification_keeps_the_class(tmp_path: Path) -> None:
    site = site_of(tmp_path / "north", 6)
    rows = "".join(f"img{n}.nii,{'ill' if n % 2 else 'well'},Doe{n}\n" for n in range(6))
    (site.folder / "index.csv").write_text(f"image,label,patient\n{rows}")
    prepared = prepare(site, study_of({"kind": "classification", "classes": "well,ill"}, size="8,8,8"))
    assert sorted(int(np.asarray(case.label)) for case in prepared.cases) == [0, 0, 0, 1, 1, 1]
    assert all(isinstance(case.label, int) for case in prepared.cases)
    assert not prepared.cases[0].foreground


def test_bad_case_is_left_out_and_stored_as_refused_and_moves_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = site_of(tmp_path / "north", max_excluded=0.2)
    before = {case.name: case.split for case in prepare(site, study_of()).cases}
    spoil(site)
    first = prepare(site, study_of())
    assert [finding.code for finding in first.findings] == ["LBL-VALUES"]
    assert {case.name: case.split for case in first.cases}.items() <= before.items()
    assert len(first.cases) == 7
    forbid_reading(monkeypatch)
    assert prepare(site, study_of()).findings == first.findings


def test_repaired_case_comes_back(tmp_path: Path) -> None:
    site = site_of(tmp_path / "north", max_excluded=0.2)
    spoil(site)
    assert len(prepare(site, study_of()).cases) == 7
    write_nifti(site.folder / "seg0.nii", mask_of(0), np.diag([-1.0, 1.0, 2.0, 1.0]))
    assert len(prepare(site, study_of()).cases) == 8


def test_library_exception_becomes_a_finding_without_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = site_of(tmp_path / "north", max_excluded=0.2)
    load, broken = case_cache_module.load_case, []

    def sometimes(case: Any, study: Study, site: Site) -> Any:
        broken.append(case.name)
        if len(broken) == 1:
            raise ValueError("/data/Doe_Jane/1.dcm")
        return load(case, study, site)

    monkeypatch.setattr(case_cache_module, "load_case", sometimes)
    prepared = prepare(site, study_of())
    assert [(finding.code, finding.case) for finding in prepared.findings] == [("CASE-UNREADABLE", broken[0])]
    assert "Doe" not in str(prepared.findings)
    assert len(prepare(site, study_of()).cases) == 8  # not stored as refused: the cause may be gone


def test_warnings_of_the_reader_are_reported_at_every_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = site_of(tmp_path / "north", 4)
    load = case_cache_module.load_case

    def noting(case: Any, study: Study, site: Site) -> Any:
        volume, label = load(case, study, site)
        return Volume(volume.array, volume.affine, (Finding.warning("DCM-LOCALIZER", "left out.", "Nothing to do."),)), label

    monkeypatch.setattr(case_cache_module, "load_case", noting)
    for _ in range(2):
        findings = prepare(site, study_of()).findings
        assert [(finding.code, finding.level) for finding in findings] == [("DCM-LOCALIZER", "warning")] * 4
        forbid_reading(monkeypatch)


def test_class_that_no_mask_has_is_reported(tmp_path: Path) -> None:
    site = site_of(tmp_path / "north", 4)
    for _ in range(2):
        findings = prepare(site, study_of({"classes": "background,a,b,c"})).findings
        assert [(finding.code, finding.level) for finding in findings] == [("LBL-NO-CLASS", "warning")]
        assert "c." in findings[0].what


def test_too_many_left_out_is_refused_with_the_reasons(tmp_path: Path) -> None:
    site = site_of(tmp_path / "north")
    spoil(site)
    with pytest.raises(DataError) as caught:
        prepare(site, study_of())
    assert caught.value.code == "SITE-EXCLUDED"
    assert "1 of 8 cases had to be left out (12%), the site allows 10%" in caught.value.what
    assert "1 LBL-VALUES" in caught.value.what
    assert len(prepare_cases(site, study_of()).cases) == 7  # a check shows them nevertheless


def test_too_few_training_cases_is_refused(tmp_path: Path) -> None:
    site = site_of(tmp_path / "north", 4, min_cases=10)
    with pytest.raises(DataError) as caught:
        prepare(site, study_of())
    assert caught.value.code == "SITE-TOO-SMALL"
    assert "3 usable training cases, the site asks for at least 10" in caught.value.what
    assert "nothing was sent" in caught.value.fix


def test_an_external_hospital_needs_test_cases_and_no_training_cases(tmp_path: Path) -> None:
    study = study_of().model_copy(update={"evaluation": Evaluation(external=("north",))})
    prepared = prepare(site_of(tmp_path / "north", 4, min_cases=4), study)
    assert [prepared.count_patients(split) for split in ("train", "validation", "test")] == [0, 0, 4]
    with pytest.raises(DataError, match="4 usable test cases, the site asks for at least 10"):
        prepare(site_of(tmp_path / "north", 4, min_cases=10), study)


def test_empty_site_is_refused() -> None:
    with pytest.raises(DataError) as caught:
        check_policy(Site(name="north"), PreparedData("north", (), (), True), study_of())
    assert caught.value.code == "SITE-EMPTY"


def test_full_disk_stops_and_leaves_what_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = site_of(tmp_path / "north", 4)
    steps: list[int] = []
    usage = cache_folder_module.shutil.disk_usage

    def shrinking(folder: Path) -> Any:
        return usage(folder)._replace(free=0 if len(steps) >= 2 else 10**9)

    with monkeypatch.context() as patch:
        patch.setattr(cache_folder_module.shutil, "disk_usage", shrinking)
        with pytest.raises(DiskFullError):
            prepare(site, study_of(), lambda done, _: steps.append(done))
    assert steps == [1, 2]
    assert len(prepare(site, study_of()).cases) == 4


@pytest.mark.slow
def test_two_processes_at_once_both_get_all_cases(tmp_path: Path) -> None:
    site = site_of(tmp_path / "north", 6)
    go = tmp_path / "go"
    wait = f"import medfl.data.preprocess.steps, pathlib, time\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.001)"
    check = "assert len(prepared.cases) == 6 and all(c.image.shape == (1, 8, 9, 10) for c in prepared.cases)"
    both = [run_prepare(site, check, before=wait) for _ in range(2)]
    go.touch()
    assert [process.wait(600) for process in both] == [0, 0]
    left = [path for path in (tmp_path / "store").rglob("*") if path.name.startswith(".tmp-") or path.suffix == ".tmp"]
    assert left == []


def run_prepare(site: Site, after: str, before: str = "") -> subprocess.Popen[bytes]:
    """Prepare a site in a process of its own."""
    code = "\n".join(
        [
            "import json, sys; from pathlib import Path",
            "from medfl.site import Site, SiteData",
            "from medfl.study import Study",
            "from medfl.data.store.prepare import prepare",
            "site = Site(name='north', folder=Path(sys.argv[1]), data=SiteData(layout='csv'))",
            "study = Study.model_validate(json.loads(sys.argv[2]))",
            before,
            "prepared = prepare(site, study)",
            after,
        ]
    )
    return subprocess.Popen([sys.executable, "-c", code, str(site.folder), json.dumps(config_of())])


def test_what_was_looked_for_is_kept_with_each_case(tmp_path: Path) -> None:
    site = site_of(tmp_path / "north", 4)
    site = site.model_copy(update={"data": SiteData(layout="csv", annotated_classes=("b",))})
    first, again = prepare(site, study_of()), prepare(site, study_of())
    for prepared in (first, again):
        assert prepared.annotated == (2,)
        assert {finding.code for finding in prepared.findings} == {"LBL-BEYOND"}  # and not that a class is missing
        assert len(prepared.findings) == 4
        for case in prepared.cases:
            assert case.annotated == (2,)
            assert set(np.unique(np.asarray(case.label))) == {0, 2}
            assert len(case.foreground[1]) == 0
    (site.folder / "index.csv").write_text(
        "image,label,patient,annotated\nimg0.nii,seg0.nii,A,a\nimg1.nii,seg1.nii,B,\nimg2.nii,seg2.nii,C,a;b\n"
    )
    mixed = prepare(site, study_of())
    assert sorted(case.annotated for case in mixed.cases) == [(), (1,), (2,)]
    assert mixed.annotated == ()


def test_a_class_that_was_looked_for_and_never_found_is_reported(tmp_path: Path) -> None:
    site = site_of(tmp_path / "north", 3)
    for number in range(3):
        write_nifti(site.folder / f"seg{number}.nii", mask_of(number) % 2, np.diag([-1.0, 1.0, 2.0, 1.0]))
    assert [finding.code for finding in prepare(site, study_of()).findings] == ["LBL-NO-CLASS"]
    annotated = site.model_copy(update={"data": SiteData(layout="csv", annotated_classes=("a",))})
    assert prepare(annotated, study_of()).findings == ()


@pytest.mark.slow
def test_a_killed_preparation_goes_on_where_it_was(tmp_path: Path) -> None:
    site = site_of(tmp_path / "north", 6)
    mark = tmp_path / "third"
    hold = (
        "import pathlib, time\nfrom medfl.data.store import case_cache as module\nload, seen = module.load_case, []\n"
        "def held(*a):\n    seen.append(1)\n    if len(seen) == 3:\n"
        f"        pathlib.Path({str(mark)!r}).touch(); time.sleep(60)\n    return load(*a)\nmodule.load_case = held"
    )
    process = run_prepare(site, "", before=hold)
    deadline = time.monotonic() + 300
    while not mark.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait(10)
    read: list[str] = []
    load = case_cache_module.load_case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(case_cache_module, "load_case", lambda case, *rest: (read.append(case.name), load(case, *rest))[1])
        prepared = prepare(site, study_of())
    assert len(prepared.cases) == 6
    assert len(read) == 4  # two were whole when it was killed


@pytest.mark.slow
def test_workers_give_what_one_process_gives_in_the_same_order(tmp_path: Path) -> None:
    site = site_of(tmp_path / "north", 6, max_excluded=1.0)
    spoil(site)
    steps: list[tuple[int, int]] = []
    many = prepare_cases(site, study_of(), lambda done, total: steps.append((done, total)), workers=2)
    assert steps == [(n, 6) for n in range(1, 7)]
    one = prepare_cases(site.model_copy(update={"resources": Resources(store=str(tmp_path / "other"))}), study_of())
    assert many.findings == one.findings
    assert [(c.name, c.patient, c.split) for c in many.cases] == [(c.name, c.patient, c.split) for c in one.cases]
    for left, right in zip(many.cases, one.cases, strict=True):
        np.testing.assert_array_equal(left.image, right.image)
        np.testing.assert_array_equal(left.label, right.label)
    with pytest.MonkeyPatch.context() as patch:
        forbid_reading(patch)
        assert prepare_cases(site, study_of()).findings == many.findings  # what the workers did lies in the store


def test_a_missing_library_stops_the_site_and_not_each_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = site_of(tmp_path / "north", 2)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "SimpleITK" else find(name, *rest))
    with pytest.raises(DataError) as caught:
        prepare(site, study_of(**{"bias-correction": "n4"}))
    assert caught.value.code == "SITE-EXTRA"
    assert "pip install SimpleITK" in caught.value.fix


@pytest.mark.parametrize("intensity", [{"intensity": "window"}, {"intensity": "standardize", "std": 10.0}])
def test_ct_that_is_not_in_hounsfield_units_is_reported(tmp_path: Path, intensity: dict[str, Any]) -> None:
    site = site_of(tmp_path / "north", 3)
    raw = np.random.default_rng(0).integers(0, 4096, (8, 9, 10)).astype(np.float32)
    write_nifti(site.folder / "img1.nii", raw, np.diag([-1.0, 1.0, 2.0, 1.0]))
    for number in (0, 2):
        write_nifti(site.folder / f"img{number}.nii", raw - 1024 + number, np.diag([-1.0, 1.0, 2.0, 1.0]))
    prepared = prepare_cases(site, study_of({"modality": "CT"}, window="lung", **intensity))
    assert [(finding.code, finding.level) for finding in prepared.findings] == [("CT-HU", "warning")]
    assert len(prepared.cases) == 3


@pytest.mark.parametrize(
    ("preprocessing", "lost"),
    [
        ({}, ""),
        ({"spacing": "1,1,1"}, ""),
        ({"spacing": "4,4,4"}, "b"),  # one voxel of 1 x 1 x 2 mm
        ({"crop": "nonzero"}, "a, b"),
        ({"size": "8,9,2"}, "b"),  # it lies in the first plane
    ],
    ids=str,
)
def test_a_class_that_preparing_loses_is_told(tmp_path: Path, preprocessing: dict[str, str], lost: str) -> None:
    site = site_of(tmp_path / "north", 1)
    affine = np.diag([-1.0, 1.0, 2.0, 1.0])
    values = np.random.default_rng(0).normal(100, 10, (8, 9, 10)).astype(np.float32)
    if "crop" in preprocessing:
        values[:6] = 0  # both classes lie in it
    write_nifti(site.folder / "img0.nii", values, affine)
    write_nifti(site.folder / "seg0.nii", mask_of(0), affine)
    findings = prepare_cases(site, study_of(**preprocessing)).findings
    told = [finding for finding in findings if finding.code == "LBL-LOST"]
    assert [finding.what.partition(":")[0] for finding in told] == ([lost] if lost else [])
    assert all(finding.level == "warning" for finding in told)


def test_no_name_of_a_patient_or_file_reaches_the_store(tmp_path: Path) -> None:
    site = site_of(tmp_path / "north", max_excluded=1.0)
    spoil(site)
    prepare(site, study_of())
    for path in (tmp_path / "store").rglob("*"):
        if path.name == "index.sqlite":  # of the files themselves: its owner's alone, see tests/data/index
            continue
        content = path.read_bytes() if path.is_file() else b""
        for canary in ("Doe", "img0", "seg0", "north"):
            assert canary not in str(path.relative_to(tmp_path))
            assert canary.encode() not in content


def test_another_split_seed_reads_no_image_again_and_gives_other_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def splits_of(**seeds: int) -> dict[str, str]:
        study = Study.model_validate(config_of() | seeds)
        return {case.name: case.split for case in prepare(site, study).cases}

    site = site_of(tmp_path / "north")
    first = splits_of(seed=1)
    forbid_reading(monkeypatch)
    assert splits_of(seed=2, split_seed=1) == first
    assert splits_of(seed=2) != first
    assert splits_of(seed=1, split_seed=2) == splits_of(seed=2)
