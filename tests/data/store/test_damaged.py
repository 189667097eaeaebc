"""Prepared data that is no longer what was written is never trained on: it is prepared anew, or refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medfl.data.cases import Case
from medfl.data.store import mapped_arrays as mapped_arrays_module
from medfl.data.store.cache_folder import CacheFolder
from medfl.data.store.checksums import checksum_array
from medfl.data.store.prepare import prepare
from medfl.data.store.prepared_data import OnDiskCase, PreparedCase
from medfl.errors import DataError
from medfl.site import Resources, Site, SiteData, ensure_secret
from medfl.study import Study

KEY = "0123456789abcdef" * 4
IMAGE = np.arange(1000, dtype=np.float32).reshape(1, 10, 10, 10)
MASK = (IMAGE[0] > 500).astype(np.uint8)
FACTS: dict[str, Any] = {"label": 1, "spacing": [1, 2, 3], "foreground": [1], "reference": None, "warnings": []}


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def zero(file: Path) -> None:
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[: size // 2] + bytes(size - size // 2))


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 8)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    for stem, array in (("image", IMAGE[0]), ("label", MASK)):
        image = nib.Nifti1Image(array, np.eye(4))
        image.set_sform(np.eye(4), 1)
        image.set_qform(np.eye(4), 1)
        nib.save(image, tmp_path / f"{stem}.nii.gz")
    (tmp_path / "index.csv").write_text("image,label,patient\nimage.nii.gz,label.nii.gz,A\n")
    ensure_secret(tmp_path / "site.secret")
    return Site(name="north", folder=tmp_path, data=SiteData(layout="csv"), resources=Resources(store=str(tmp_path / "store")))


def open_case(site: Site) -> PreparedCase:
    study = {
        "name": "s",
        "rounds": 1,
        "task": {"kind": "segmentation", "dimension": 3, "modality": "MR", "classes": "background,a"},
        "network": {"name": "unet"},
        "loss": {"name": "dice-ce"},
        "preprocessing": {"intensity": "unit"},
    }
    site = site.model_copy(update={"policy": site.policy.model_copy(update={"min_cases": 0, "max_excluded": 1.0})})
    (case,) = prepare(site, Study.model_validate(study)).cases
    return case


def arrays_of(case: PreparedCase) -> list[np.ndarray]:
    return [np.array(case.image), np.array(case.label), np.array(case.foreground[1])]


@pytest.mark.parametrize("damage", [flip, zero, cut])
@pytest.mark.parametrize("name", ["image.npy", "label.npy", "fg_1.npy"])
def test_a_damaged_file_is_prepared_anew(site: Site, damage: Callable[[Path], None], name: str) -> None:
    expected = arrays_of(open_case(site))
    (file,) = (site.folder / "store").rglob(name)
    damage(file)
    case = open_case(site)  # a file of another length is seen here already
    for found, wanted in zip(arrays_of(case), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    file_again = next((site.folder / "store").rglob(name))
    damage(file_again)  # while the case is open
    for found, wanted in zip(arrays_of(case), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_what_cannot_be_prepared_anew_is_refused(site: Site) -> None:
    case = open_case(site)
    (file,) = (site.folder / "store").rglob("image.npy")
    flip(file)
    (site.folder / "image.nii.gz").unlink()
    with pytest.raises(DataError, match="STORE-DAMAGED") as caught:
        _ = case.image
    assert str(site.folder) not in str(caught.value)


def test_sources_that_changed_meanwhile_do_not_take_the_place(site: Site) -> None:
    case = open_case(site)
    (file,) = (site.folder / "store").rglob("image.npy")
    flip(file)
    image = nib.load(site.folder / "image.nii.gz")
    nib.save(nib.Nifti1Image(IMAGE[0] * 2 + MASK, image.affine, image.header), site.folder / "image.nii.gz")
    with pytest.raises(DataError, match="STORE-DAMAGED"):
        _ = case.image


@pytest.mark.parametrize("with_index", [False, True])
def test_facts_that_changed_are_not_believed(tmp_path: Path, with_index: bool) -> None:
    folder = CacheFolder(tmp_path / "s")
    folder.write("case-A", KEY, {"image": IMAGE}, FACTS)
    file = Path(folder.case_path("case-A", KEY)) / "meta.json"
    if with_index:
        folder.save()
        file = tmp_path / "s" / "index.json"
    assert CacheFolder(tmp_path / "s").find("case-A", KEY) is not None
    for before, after in (('"label": 1', '"label": 0'), ("[1, 2, 3]", "[1, 2, 9]"), ('"<f4"', '"<i4"')):
        good = file.read_text()
        compact = json.dumps(json.loads(good))
        assert before in compact
        file.write_text(compact.replace(before, after))
        found = CacheFolder(tmp_path / "s").find("case-A", KEY)
        assert (found is not None) == with_index  # the index is a copy of what the case says of itself
        assert found is None or found["label"] == 1
        file.write_text(good)


def test_entries_without_checksums_are_not_found(tmp_path: Path) -> None:
    folder = CacheFolder(tmp_path / "s")
    meta = folder.write("case-A", KEY, {"image": IMAGE}, FACTS)
    file = Path(folder.case_path("case-A", KEY)) / "meta.json"
    file.write_text(json.dumps({name: value for name, value in meta.items() if name != "checksum"}))
    assert CacheFolder(tmp_path / "s").find("case-A", KEY) is None


def test_a_file_is_checked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = CacheFolder(tmp_path / "s")
    checked: list[tuple[int, ...]] = []
    meta = folder.write("case-A", KEY, {"image": IMAGE, "fg_1": np.zeros((0, 3), np.int16)}, FACTS)

    def compute(array: Any) -> str:
        checked.append(array.shape)
        return checksum_array(array)

    monkeypatch.setattr(mapped_arrays_module, "checksum_array", compute)
    case = OnDiskCase(Case.without_files("case-A", "pat-A", "train"), folder.case_path("case-A", KEY), meta)
    for _ in range(3):
        assert case.image[0, 0, 0, 1] == 1
        assert len(case.foreground[1]) == 0
    assert checked == [IMAGE.shape]
