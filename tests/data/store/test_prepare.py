"""Preparing a site: from files to mapped cases, twice as fast the second time, and honest about what is left out."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medfl.data.store import prepare as prepare_module
from medfl.data.store import shelf as shelf_module
from medfl.data.store.prepare import check_policy, prepare, prepare_cases, store_root
from medfl.data.store.stored import Prepared, StoredCase
from medfl.data.volume import Volume
from medfl.errors import DataError, DiskFullError
from medfl.site import Policy, Resources, Site, SiteData, ensure_secret
from medfl.study import Study

TASK = {"kind": "segmentation", "dimension": 3, "modality": "MR", "classes": "background,a,b"}


def study_of(task: dict[str, Any] | None = None, **preprocessing: Any) -> Study:
    return Study.model_validate(config_of(task, **preprocessing))


def config_of(task: dict[str, Any] | None = None, **preprocessing: Any) -> dict[str, Any]:
    task = TASK | (task or {})
    segmenting = task["kind"] == "segmentation"
    return {
        "name": "s",
        "rounds": 1,
        "task": task,
        "network": {"name": "unet" if segmenting else "cnn"},
        "loss": {"name": "dice-ce" if segmenting else "cross-entropy"},
        "preprocessing": preprocessing,
    }


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> None:
    image = nib.Nifti1Image(array, np.eye(4) if affine is None else affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(image.affine, 1)
    image.set_qform(image.affine, 1)
    nib.save(image, path)


def mask_of(number: int) -> np.ndarray:
    mask = np.zeros((8, 9, 10), np.uint8)
    mask[2:5, 2:5, 2:5] = 1
    mask[5, 5, number % 8] = 2
    return mask


def site_of(folder: Path, cases: int = 8, **policy: Any) -> Site:
    """Make a hospital of `cases` patients with one image each, from different seeds, mirrored in x."""
    folder.mkdir(exist_ok=True)
    rows = []
    for number in range(cases):
        values = np.random.default_rng(number).normal(100, 10, (8, 9, 10)).astype(np.float32)
        affine = np.diag([-1.0, 1.0, 2.0, 1.0])
        write_nifti(folder / f"img{number}.nii", values, affine)
        write_nifti(folder / f"seg{number}.nii", mask_of(number), affine)
        rows.append({"image": f"img{number}.nii", "label": f"seg{number}.nii", "patient": f"DOE{number}"})
    with open(folder / "index.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["image", "label", "patient"])
        writer.writeheader()
        writer.writerows(rows)
    ensure_secret(folder / "site.secret")
    return Site(name="north", folder=folder, policy=Policy(**policy), data=SiteData(layout="csv"))


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> None:
        raise AssertionError("a source was read")

    monkeypatch.setattr(prepare_module, "load_case", read)


def spoil(site: Site, number: int = 0) -> None:
    """Put a value into a mask that the study does not declare."""
    write_nifti(site.folder / f"seg{number}.nii", np.full((8, 9, 10), 7, np.uint8), np.diag([-1.0, 1.0, 2.0, 1.0]))


def by_name(prepared: Prepared) -> dict[str, StoredCase]:
    return {case.name: case for case in prepared.cases}


def test_all_cases_come_prepared_and_split_by_patient(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    prepared = prepare(site_of(tmp_path / "north"), study_of(), lambda done, total: steps.append((done, total)))
    assert prepared.site == "north"
    assert len(prepared.cases) == 8
    assert prepared.findings == ()
    assert prepared.patient_ids
    assert steps == [(n, 8) for n in range(1, 9)]
    assert sum(prepared.patients(split) for split in ("train", "validation", "test")) == 8
    assert prepared.patients("test") == 2
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
    assert done.wait(60) == 0


@pytest.mark.parametrize("file", ["img0.nii", "seg0.nii"])
def test_changed_source_is_prepared_again_though_size_and_date_are_the_same(tmp_path: Path, file: str) -> None:
    site = site_of(tmp_path / "north")
    before = by_name(prepare(site, study_of()))
    facts = (site.folder / file).stat()
    if file.startswith("img"):
        write_nifti(
            site.folder / file,
            np.random.default_rng(99).normal(100, 10, (8, 9, 10)).astype(np.float32),
            np.diag([-1.0, 1, 2, 1]),
        )
    else:
        write_nifti(site.folder / file, mask_of(3), np.diag([-1.0, 1, 2, 1]))
    assert (site.folder / file).stat().st_size == facts.st_size
    os.utime(site.folder / file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    after = by_name(prepare(site, study_of()))
    assert before.keys() == after.keys()
    same = {
        name: np.array_equal(before[name].image, after[name].image) and np.array_equal(before[name].label, after[name].label)
        for name in before
    }
    assert sorted(same.values()) == [False] + [True] * 7


def test_other_preprocessing_does_not_meet_old_results(tmp_path: Path) -> None:
    site = site_of(tmp_path / "north")
    one = prepare(site, study_of(intensity="unit"))
    other = prepare(site, study_of(intensity="zscore"))
    assert one.cases[0].image.min() == 0
    assert other.cases[0].image.min() < -1


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
    monkeypatch.setattr(prepare_module, "_POSITIONS", 10)
    for case in prepare(site_of(tmp_path / "north", 3), study_of()).cases:
        assert list(case.foreground) == [1, 2]
        assert case.foreground[1].shape == (10, 3)
        assert case.foreground[2].shape == (1, 3)
        for index, places in case.foreground.items():
            assert isinstance(case.label, np.ndarray)
            assert (case.label[tuple(places.T)] == index).all()


def test_classification_keeps_the_class(tmp_path: Path) -> None:
    site = site_of(tmp_path / "north", 6)
    rows = "".join(f"img{n}.nii,{'ill' if n % 2 else 'well'},DOE{n}\n" for n in range(6))
    (site.folder / "index.csv").write_text(f"image,label,patient\n{rows}")
    prepared = prepare(site, study_of({"kind": "classification", "classes": "well,ill"}, size="8,8,8"))
    assert sorted(int(np.asarray(case.label)) for case in prepared.cases) == [0, 0, 0, 1, 1, 1]
    assert all(isinstance(case.label, int) for case in prepared.cases)
    assert not prepared.cases[0].foreground


def test_bad_case_is_left_out_remembered_and_moves_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    load, broken = prepare_module.load_case, []

    def sometimes(case: Any, study: Study, site: Site) -> Any:
        broken.append(case.name)
        if len(broken) == 1:
            raise ValueError("/data/DOE_JANE/1.dcm")
        return load(case, study, site)

    monkeypatch.setattr(prepare_module, "load_case", sometimes)
    prepared = prepare(site, study_of())
    assert [(finding.code, finding.case) for finding in prepared.findings] == [("CASE-UNREADABLE", broken[0])]
    assert "DOE" not in str(prepared.findings)
    assert len(prepare(site, study_of()).cases) == 8  # not remembered: the cause may be gone


def test_what_the_reader_noticed_is_told_at_every_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = site_of(tmp_path / "north", 4)
    load = prepare_module.load_case

    def noting(case: Any, study: Study, site: Site) -> Any:
        volume, label = load(case, study, site)
        return Volume(volume.array, volume.affine, (DataError("DCM-LOCALIZER", "left out.", "Nothing to do."),)), label

    monkeypatch.setattr(prepare_module, "load_case", noting)
    for _ in range(2):
        findings = prepare(site, study_of()).findings
        assert [(finding.code, finding.level) for finding in findings] == [("DCM-LOCALIZER", "warning")] * 4
        forbid_reading(monkeypatch)


def test_class_that_no_mask_has_is_told(tmp_path: Path) -> None:
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


def test_empty_site_is_refused() -> None:
    with pytest.raises(DataError) as caught:
        check_policy(Site(name="north"), Prepared("north", (), (), True))
    assert caught.value.code == "SITE-EMPTY"


def test_full_disk_stops_and_leaves_what_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = site_of(tmp_path / "north", 4)
    steps: list[int] = []
    usage = shelf_module.shutil.disk_usage

    def shrinking(folder: Path) -> Any:
        return usage(folder)._replace(free=0 if len(steps) >= 2 else 10**9)

    with monkeypatch.context() as patch:
        patch.setattr(shelf_module.shutil, "disk_usage", shrinking)
        with pytest.raises(DiskFullError):
            prepare(site, study_of(), lambda done, _: steps.append(done))
    assert steps == [1, 2]
    assert len(prepare(site, study_of()).cases) == 4


def test_two_processes_at_once_both_get_all_cases(tmp_path: Path) -> None:
    site = site_of(tmp_path / "north", 6)
    go = tmp_path / "go"
    wait = f"import medfl.data.preprocess, pathlib, time\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.001)"
    check = "assert len(prepared.cases) == 6 and all(c.image.shape == (1, 8, 9, 10) for c in prepared.cases)"
    both = [run_prepare(site, check, before=wait) for _ in range(2)]
    go.touch()
    assert [process.wait(120) for process in both] == [0, 0]
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


def test_no_name_of_a_patient_or_file_reaches_the_store(tmp_path: Path) -> None:
    site = site_of(tmp_path / "north", max_excluded=1.0)
    spoil(site)
    prepare(site, study_of())
    for path in (tmp_path / "store").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for canary in ("DOE", "img0", "seg0", "north"):
            assert canary not in str(path.relative_to(tmp_path))
            assert canary.encode() not in content


def test_store_is_where_the_site_then_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDFL_STORE", str(tmp_path / "env"))
    assert store_root(Site(name="a")) == tmp_path / "env"
    chosen = Resources(store=str(tmp_path / "own"))
    assert store_root(Site(name="a", resources=chosen)) == tmp_path / "own"
    assert store_root(Site(name="a", folder=tmp_path, resources=Resources(store="below"))) == tmp_path / "below"
    monkeypatch.delenv("MEDFL_STORE")
    assert store_root(Site(name="a")) == Path.home() / ".cache" / "medfl" / "store"
