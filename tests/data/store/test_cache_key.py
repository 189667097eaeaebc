"""Prepared data is used again only if its sources, and all that decides how they are read, are the same."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medfl.data.cohort import read_cohort
from medfl.data.store import cache_key as cache_key_module
from medfl.data.store import case_cache as case_cache_module
from medfl.data.store import versions
from medfl.data.store.cache_status import get_cache_status
from medfl.data.store.case_cache import CaseCache
from medfl.data.store.prepare import prepare, store_root
from medfl.errors import DataError
from medfl.site import Resources, SimulatedSite, Site, SiteData
from medfl.study import Simulation
from tests.data.store.store_site import by_name, mask_of, site_of, spoil, study_of, write_nifti


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


def test_another_simulated_scanner_does_not_meet_old_results(tmp_path: Path) -> None:
    site = site_of(tmp_path / "north")

    def with_scanner(**strengths: float) -> Site:
        simulated = SimulatedSite(simulation=Simulation(**strengths), own_scanner=True)
        return site.model_copy(update={"simulated": simulated})

    def images(site: Site, seed: int) -> list[np.ndarray]:
        study = study_of(intensity="unit").model_copy(update={"seed": seed})
        return [case.image for _, case in sorted(by_name(prepare(site, study)).items())]

    plain = images(site, 1)
    shifts = [with_scanner(scanner_noise=0.5), with_scanner(scanner_noise=0.1), with_scanner(scanner_bias=0.5)]
    found = [plain, *(images(shift, 1) for shift in shifts), images(shifts[0], 2)]
    assert all(not np.array_equal(one[0], other[0]) for one, other in itertools.combinations(found, 2))
    for again, before in zip((site, *shifts), found, strict=False):
        np.testing.assert_array_equal(images(again, 1), before)


def test_noise_of_one_image_depends_on_whose_it_is(tmp_path: Path) -> None:
    site = site_of(tmp_path / "north", 3)
    simulated = SimulatedSite(simulation=Simulation(scanner_noise=0.5), own_scanner=True)
    noisy, study = site.model_copy(update={"simulated": simulated}), study_of(intensity="unit")
    (case, *_), cache = read_cohort(noisy, study).cases, CaseCache(noisy, study)
    others = replace(case, split_order="0" * 64)
    assert cache.case_key(case) != cache.case_key(others)
    plain = CaseCache(site, study)
    assert plain.case_key(case) == plain.case_key(others)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("label_geometry", "resample"),
        ("label_match", "frame-of-reference"),
        ("label_names", (("Tumour", "a"),)),
        ("annotated_classes", ("a",)),
        ("negatives", True),
        ("nifti_form", "sform"),
        ("gantry_tilt", "resample"),
        ("nonuniform", "resample"),
        ("min_slices", 3),
        ("allow_headerless", True),
        ("burned_in", "allow"),
        ("converter", "dcm2niix"),
    ],
)
def test_another_way_of_reading_is_another_plan(key: str, value: object) -> None:
    plain, other = Site(name="a"), Site(name="a", data=SiteData(**{key: value}))
    assert cache_key_module.compute_cache_key(plain, study_of()) != cache_key_module.compute_cache_key(other, study_of())


def test_where_the_files_lie_is_no_part_of_the_plan() -> None:
    plain, moved = Site(name="a"), Site(name="a", data=SiteData(root="elsewhere", layout="csv", index="list.csv", where="x=1"))
    assert cache_key_module.compute_cache_key(plain, study_of()) == cache_key_module.compute_cache_key(moved, study_of())


def test_another_library_makes_the_cases_and_the_refusals_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = site_of(tmp_path / "north", 4, max_excluded=1.0)
    spoil(site)
    first = prepare(site, study_of())
    reader = case_cache_module.reader_versions
    monkeypatch.setattr(case_cache_module, "reader_versions", lambda kind: (*reader(kind), "nibabel of tomorrow"))
    read: list[str] = []
    load = case_cache_module.load_case
    monkeypatch.setattr(case_cache_module, "load_case", lambda case, *rest: (read.append(case.name), load(case, *rest))[1])
    second = prepare(site, study_of())
    assert len(read) == 4
    assert second.findings == first.findings
    assert by_name(second).keys() == by_name(first).keys()


@pytest.mark.parametrize("kind", ["nifti", "dicom", "image"])
def test_versions_are_those_that_are_installed(kind: str) -> None:
    versions_by_name = dict(
        line.split(" ") for line in (*versions.reader_versions(kind), *versions.preprocessing_versions(bias_correction=False))
    )
    for name, version in versions_by_name.items():
        if version != "none":
            assert importlib.metadata.version(name).startswith(version), name
    assert "none" not in (versions_by_name["monai"], versions_by_name["numpy"], versions_by_name["torch"])


def test_a_select_is_part_of_the_key(tmp_path: Path) -> None:
    site = site_of(tmp_path / "north", 2)
    (case, _) = read_cohort(site, study_of()).cases
    cache = case_cache_module.CaseCache(site, study_of())
    changed = (
        replace(case, image=replace(case.image, select=("EchoTime=10",))),
        replace(case, annotated=("a",)),
        replace(case, label=replace(case.label, names=((1, "b"),))),
    )
    assert len({cache.case_key(case), *map(cache.case_key, changed)}) == 4


def test_fresh_and_stale_data_are_distinguished_without_preparing(tmp_path: Path) -> None:
    site = site_of(tmp_path / "north", 4)
    assert get_cache_status(site, study_of()).missing == 4
    prepare(site, study_of())
    now = get_cache_status(site, study_of())
    assert (now.current, now.changed, now.missing) == (4, 0, 0)
    now.require_current()
    write_nifti(site.folder / "seg0.nii", mask_of(5), np.diag([-1.0, 1.0, 2.0, 1.0]))
    later = get_cache_status(site, study_of())
    assert (later.current, later.changed, later.missing) == (3, 1, 0)
    with pytest.raises(DataError, match=r"STORE-STALE.*files of 1 case.*'medfl data prepare'"):
        later.require_current()
    other = get_cache_status(site, study_of(spacing="2,2,2"))
    assert (other.current, other.missing, other.other_plan) == (0, 4, now.plan)
    with pytest.raises(DataError, match=rf"another plan \({now.plan} instead of {other.plan}\)"):
        other.require_current()


def test_a_case_that_is_known_to_be_left_out_is_not_stale(tmp_path: Path) -> None:
    site = site_of(tmp_path / "north", 4, max_excluded=1.0)
    spoil(site)
    prepare(site, study_of())
    assert get_cache_status(site, study_of()).current == 4


def test_store_is_where_the_site_then_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDFL_STORE", str(tmp_path / "env"))
    assert store_root(Site(name="a")) == tmp_path / "env"
    chosen = Resources(store=str(tmp_path / "own"))
    assert store_root(Site(name="a", resources=chosen)) == tmp_path / "own"
    assert store_root(Site(name="a", folder=tmp_path, resources=Resources(store="below"))) == tmp_path / "below"
    monkeypatch.delenv("MEDFL_STORE")
    assert store_root(Site(name="a")) == Path.home() / ".cache" / "medfl" / "store"
