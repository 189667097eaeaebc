"""Prepared data that is no longer wanted goes, and nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.data.store.cache_folder import CacheFolder
from medfl.data.store.cache_key import compute_cache_key, site_root
from medfl.data.store.purge import find_purgeable, purge
from medfl.site import Resources, Site
from medfl.study import Study

FACTS: dict[str, Any] = {"label": 0, "spacing": [], "affine": [], "foreground": [], "reference": None, "warnings": []}


def study_of(**preprocessing: Any) -> Study:
    task = {"kind": "segmentation", "dimension": 3, "modality": "MR", "classes": "background,a"}
    values = {"name": "s", "rounds": 1, "task": task, "network": {"name": "unet"}, "loss": {"name": "dice-ce"}}
    return Study.model_validate({**values, "preprocessing": preprocessing})


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(name="north", resources=Resources(store=str(tmp_path / "store")))


def fill(site: Site, study: Study, *keys: str, days: float = 0.0) -> CacheFolder:
    cache_folder = CacheFolder(site_root(site) / compute_cache_key(site, study)[:16])
    for age, key in enumerate(keys):
        cache_folder.write("case-A", key * 64, {"image": np.zeros((1, 10, 10), np.float32)}, FACTS)
        os.utime(cache_folder.case_path("case-A", key * 64), (age, age))
    cache_folder.describe({"study": study.name})
    os.utime(cache_folder.path, (time.time() - 86400 * days,) * 2)
    return cache_folder


def test_all_goes_unless_it_is_kept(site: Site) -> None:
    ours, other = fill(site, study_of(), "a"), fill(site, study_of(intensity="unit"), "a", "b")
    (item,) = find_purgeable(site, [study_of()])
    assert (item.study, item.why, item.cases, item.folders) == ("s", "plan", 2, (other.path,))
    assert 800 < item.size < 4000
    assert purge([item]) == item.size
    assert ours.find("case-A", "a" * 64) is not None
    assert not other.path.exists()
    assert len(find_purgeable(site)) == 1
    assert find_purgeable(site, [study_of()]) == ()


def test_what_was_used_lately_stays(site: Site) -> None:
    fill(site, study_of(), "a", days=5)
    old = fill(site, study_of(intensity="unit"), "a", days=40)
    assert [item.folders for item in find_purgeable(site, older_than=30)] == [(old.path,)]
    CacheFolder(old.path)  # opening it is use
    assert find_purgeable(site, older_than=30) == ()


def test_copies_of_files_that_have_changed_go_from_a_plan_that_is_kept(site: Site) -> None:
    cache_folder = fill(site, study_of(), "a", "b", "c")
    (item,) = find_purgeable(site, [study_of()])
    assert (item.why, item.cases) == ("superseded", 2)
    purge([item])
    assert [cache_folder.find("case-A", key * 64) is not None for key in "abc"] == [False, False, True]


def test_a_site_without_prepared_data_has_nothing_to_remove(site: Site) -> None:
    assert find_purgeable(site) == ()


def test_foreign_folders_and_other_sites_are_left_alone(site: Site, tmp_path: Path) -> None:
    fill(Site(name="south", resources=site.resources), study_of(), "a")
    fill(site, study_of(), "a")
    foreign = site_root(site) / "notes"
    foreign.mkdir()
    purge(find_purgeable(site))
    assert foreign.is_dir()
    assert len(find_purgeable(Site(name="south", resources=site.resources))) == 1


def test_what_runs_left_goes_only_when_asked_for(site: Site) -> None:
    def left(study: Study, run: str, days: float) -> Path:
        folder = site_root(site) / "state" / study.approved_hash()[:16] / run
        folder.mkdir(parents=True)
        (folder / "control-round-00001.safetensors").write_bytes(b"x" * 100)
        os.utime(folder, (time.time() - 86400 * days,) * 2)
        return folder

    ours, old, young = (
        left(study_of(), "1", 40),
        left(study_of(intensity="unit"), "2", 40),
        left(study_of(clip=True), "3", 1),
    )
    assert find_purgeable(site) == ()
    (item,) = find_purgeable(site, [study_of()], older_than=30, runs=True)
    assert (item.folders, item.why, item.size, round(item.days)) == ((old,), "run", 100, 40)
    assert purge([item]) == 100
    assert (ours.is_dir(), old.is_dir(), young.is_dir()) == (True, False, True)
    assert len(find_purgeable(site, runs=True)) == 2


def test_models_that_a_site_keeps_to_answer_again_are_of_runs_too(site: Site, tmp_path: Path) -> None:
    def kept(study: Study, days: float) -> Path:
        folder = tmp_path / "answers" / study.approved_hash()[:16] / "run" / "models"
        folder.mkdir(parents=True)
        (folder / "train-1.answer").write_bytes(b"x" * 100)
        (folder.parent / "test-0.answer").write_bytes(b"x")
        os.utime(folder, (time.time() - 86400 * days,) * 2)
        return folder

    kept(study_of(), 40)
    old = kept(study_of(intensity="unit"), 40)
    kept(study_of(clip=True), 1)
    assert find_purgeable(site, answers=tmp_path / "answers") == ()
    (item,) = find_purgeable(site, [study_of()], older_than=30, runs=True, answers=tmp_path / "answers")
    assert (item.folders, item.why, item.size) == ((old,), "run", 100)
    purge([item])
    assert [path.name for path in old.parent.iterdir()] == ["test-0.answer"]
