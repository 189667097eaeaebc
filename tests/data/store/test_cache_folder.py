"""The store: whole cases or none, whatever happens while they are written."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.data.cases import Case
from medfl.data.findings import Finding
from medfl.data.store import cache_folder as cache_folder_module
from medfl.data.store import digests as digests_module
from medfl.data.store.cache_folder import CacheFolder
from medfl.data.store.digests import DigestCache
from medfl.data.store.prepared_data import OnDiskCase, PreparedCase, PreparedData
from medfl.errors import DataError, DiskFullError
from medfl.system import files as files_module

KEY = "0123456789abcdef" * 4
FACTS: dict[str, Any] = {
    "label": None,
    "spacing": [1, 2, 3],
    "affine": [],
    "foreground": [1, 2],
    "reference": None,
    "warnings": [],
}


def arrays_of(value: float = 1.5) -> dict[str, Any]:
    return {
        "image": np.full((1, 2, 3, 4), value, np.float16),
        "label": np.ones((2, 3, 4), np.uint8),
        "fg_1": np.array([[0, 0, 0], [1, 2, 3]], np.int16),
        "fg_2": np.zeros((0, 3), np.int16),
    }


def test_what_is_written_comes_back_mapped_and_read_only(tmp_path: Path) -> None:
    CacheFolder(tmp_path / "s").write("case-A", KEY, arrays_of(), FACTS)
    cache_folder = CacheFolder(tmp_path / "s")
    meta = cache_folder.find("case-A", KEY)
    assert meta is not None
    case = OnDiskCase(Case.without_files("case-A", "pat-A", "train"), cache_folder.case_path("case-A", KEY), meta)
    assert isinstance(case.image, np.memmap)
    assert not case.image.flags.writeable
    np.testing.assert_array_equal(case.image, arrays_of()["image"])
    assert case.image.dtype == np.float16
    np.testing.assert_array_equal(case.label, 1)
    assert case.spacing == (1, 2, 3)
    assert list(case.foreground) == [1, 2]
    np.testing.assert_array_equal(case.foreground[1], [[0, 0, 0], [1, 2, 3]])
    assert case.foreground[2].shape == (0, 3)
    with pytest.raises(KeyError):
        case.foreground[3]
    assert case.reference is None
    assert cache_folder.is_intact("case-A", KEY)


def test_files_are_plain_npy(tmp_path: Path) -> None:
    cache_folder = CacheFolder(tmp_path / "s")
    cache_folder.write("case-A", KEY, arrays_of(), FACTS)
    image = np.load(tmp_path / "s" / f"case-A-{KEY[:16]}" / "image.npy", allow_pickle=False)
    np.testing.assert_array_equal(image, arrays_of()["image"])


def test_folders_are_for_the_owner_only(tmp_path: Path) -> None:
    cache_folder = CacheFolder(tmp_path / "s")
    cache_folder.write("case-A", KEY, arrays_of(), FACTS)
    for folder in (tmp_path / "s", Path(cache_folder.case_path("case-A", KEY))):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_open_files_do_not_grow_with_the_number_of_cases(tmp_path: Path) -> None:
    cache_folder = CacheFolder(tmp_path / "s")
    cases = []
    for number in range(20):
        meta = cache_folder.write(f"case-{number}", KEY, arrays_of(), FACTS)
        cases.append(OnDiskCase(Case.without_files("n", "p", "train"), cache_folder.case_path(f"case-{number}", KEY), meta))
    before = len(os.listdir("/proc/self/fd"))
    assert sum(float(case.image.max()) for case in cases) == 30
    assert len(os.listdir("/proc/self/fd")) == before


def test_another_key_is_another_case(tmp_path: Path) -> None:
    cache_folder = CacheFolder(tmp_path / "s")
    cache_folder.write("case-A", KEY, arrays_of(), FACTS)
    assert cache_folder.find("case-A", "f" * 64) is None
    assert cache_folder.find("case-A", KEY[:16] + "f" * 48) is None


@pytest.mark.parametrize("with_index", [False, True])
@pytest.mark.parametrize("damage", ["cut", "gone", "meta"])
def test_damaged_case_is_not_found_and_can_be_written_again(tmp_path: Path, damage: str, with_index: bool) -> None:
    cache_folder = CacheFolder(tmp_path / "s")
    cache_folder.write("case-A", KEY, arrays_of(), FACTS)
    if with_index:
        cache_folder.save()
    place = Path(cache_folder.case_path("case-A", KEY))
    if damage == "cut":
        os.truncate(place / "image.npy", 130)
    elif damage == "gone":
        (place / "label.npy").unlink()
    else:
        (place / "meta.json").write_text('{"key":')
        (place / "fg_1.npy").unlink()
    again = CacheFolder(tmp_path / "s")
    assert again.find("case-A", KEY) is None
    again.write("case-A", KEY, arrays_of(2.0), FACTS)
    assert CacheFolder(tmp_path / "s").find("case-A", KEY) is not None
    assert CacheFolder(tmp_path / "s").is_intact("case-A", KEY)
    assert not list((tmp_path / "s").glob(".tmp-*"))


def test_changed_bits_are_seen_when_asked_for(tmp_path: Path) -> None:
    cache_folder = CacheFolder(tmp_path / "s")
    cache_folder.write("case-A", KEY, arrays_of(), FACTS)
    file = Path(cache_folder.case_path("case-A", KEY)) / "image.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert not cache_folder.is_intact("case-A", KEY)


def test_the_faster_process_wins(tmp_path: Path) -> None:
    one, other = CacheFolder(tmp_path / "s"), CacheFolder(tmp_path / "s")
    one.write("case-A", KEY, arrays_of(1.0), FACTS)
    other.write("case-A", KEY, arrays_of(2.0), FACTS)
    assert np.load(Path(one.case_path("case-A", KEY)) / "image.npy").max() == 1.0
    assert [p.name for p in (tmp_path / "s").iterdir()] == [f"case-A-{KEY[:16]}"]


def test_two_processes_that_mend_one_damaged_case_both_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, fast = CacheFolder(tmp_path / "s"), CacheFolder(tmp_path / "s")
    slow.write("case-A", KEY, arrays_of(), FACTS)
    os.truncate(Path(slow.case_path("case-A", KEY)) / "image.npy", 130)
    remove, done = cache_folder_module.shutil.rmtree, []

    def between(folder: Any, **options: Any) -> None:
        if not done:  # the slow one has put the damaged case aside, and is not yet back with its own
            done.append(folder)
            fast.write("case-A", KEY, arrays_of(), FACTS)
        remove(folder, **options)

    monkeypatch.setattr(cache_folder_module.shutil, "rmtree", between)
    slow.write("case-A", KEY, arrays_of(), FACTS)
    assert done
    assert slow.is_intact("case-A", KEY)
    assert [p.name for p in (tmp_path / "s").iterdir()] == [f"case-A-{KEY[:16]}"]


def test_store_that_went_away_is_reported_without_its_path(tmp_path: Path) -> None:
    cache_folder = CacheFolder(tmp_path / "s")
    (tmp_path / "s").rmdir()
    with pytest.raises(DataError, match="STORE-UNWRITABLE") as caught:
        cache_folder.write("case-A", KEY, arrays_of(), FACTS)
    assert str(tmp_path) not in str(caught.value)


def test_crash_while_writing_leaves_no_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache_folder = CacheFolder(tmp_path / "s")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cache_folder_module, "write_json", crash)
        with pytest.raises(KeyboardInterrupt):
            cache_folder.write("case-A", KEY, arrays_of(), FACTS)
    assert CacheFolder(tmp_path / "s").find("case-A", KEY) is None
    assert not list((tmp_path / "s").iterdir())


def test_leftovers_of_a_killed_process_are_ignored_and_go_after_a_day(tmp_path: Path) -> None:
    CacheFolder(tmp_path / "s")
    old, young = (tmp_path / "s" / f".tmp-case-A-{n}" for n in (1, 2))
    for left in (old, young):
        left.mkdir()
        (left / "image.npy").write_bytes(b"half")
    os.utime(old, (time.time() - 90000,) * 2)
    assert CacheFolder(tmp_path / "s").find("case-A", KEY) is None
    assert not old.exists()
    assert young.exists()


def test_full_disk_is_reported_with_numbers_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache_folder = CacheFolder(tmp_path / "s")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError) as caught:
        cache_folder.write("case-A", KEY, {"image": np.zeros((1, 1024, 1024), np.float32)}, FACTS, remaining=3)
    assert caught.value.code == "DISK-FULL"
    assert "about 12.6 MB more for 3 cases" in caught.value.what
    assert str(tmp_path) not in str(caught.value)
    assert not list((tmp_path / "s").iterdir())


def test_full_disk_is_seen_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache_folder = CacheFolder(tmp_path / "s")
    monkeypatch.setattr(
        cache_folder_module.shutil, "disk_usage", lambda _: cache_folder_module.shutil._ntuple_diskusage(10, 10, 0)
    )
    with pytest.raises(DiskFullError):
        cache_folder.write("case-A", KEY, arrays_of(), FACTS)


def test_store_that_is_a_file_is_reported_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("")
    with pytest.raises(DataError) as caught:
        CacheFolder(tmp_path / "s")
    assert caught.value.code == "STORE-UNWRITABLE"
    assert str(tmp_path) not in str(caught.value)


def test_array_that_went_away_in_use_is_reported_without_its_path(tmp_path: Path) -> None:
    cache_folder = CacheFolder(tmp_path / "s")
    meta = cache_folder.write("case-A", KEY, arrays_of(), FACTS)
    case = OnDiskCase(Case.without_files("case-A", "pat-A", "train"), cache_folder.case_path("case-A", KEY), meta)
    (Path(cache_folder.case_path("case-A", KEY)) / "image.npy").unlink()
    with pytest.raises(DataError) as caught:
        _ = case.image
    assert caught.value.code == "STORE-LOST"
    assert caught.value.__context__ is None
    assert str(tmp_path) not in str(caught.value) + repr(case)


def test_refusal_is_stored_for_this_version(tmp_path: Path) -> None:
    finding = Finding("LBL-EMPTY", "case-A", "the label has no marked voxel.", "Export it again.")
    cache_folder = CacheFolder(tmp_path / "s")
    cache_folder.save_rejection("case-A", KEY, "0.1", finding)
    for again in (cache_folder, CacheFolder(tmp_path / "s")):
        assert again.find_rejection("case-A", KEY, "0.1") == finding
        assert again.find_rejection("case-A", KEY, "0.2") is None
        assert again.find_rejection("case-A", "f" * 64, "0.1") is None


def test_damaged_index_costs_nothing_but_time(tmp_path: Path) -> None:
    cache_folder = CacheFolder(tmp_path / "s")
    cache_folder.write("case-A", KEY, arrays_of(), FACTS)
    cache_folder.save()
    (tmp_path / "s" / "index.json").write_text("{")
    assert CacheFolder(tmp_path / "s").find("case-A", KEY) is not None


def test_digest_is_read_once_and_follows_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests_module, "_SETTLED", -1)
    source, cache = tmp_path / "Doe_Jane.nii", tmp_path / "digests.json"
    source.write_bytes(b"one")
    first = DigestCache(cache, bytes(32))
    digest = first.get(source)
    assert digest == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    first.save()
    assert "Doe" not in cache.read_text()
    with monkeypatch.context() as patch:
        patch.setattr(digests_module.hashlib, "file_digest", None)  # would fail if the file were read
        assert DigestCache(cache, bytes(32)).get(source) == digest
    facts = source.stat()
    source.write_bytes(b"two")
    os.utime(source, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # same size, same date
    assert DigestCache(cache, bytes(32)).get(source) != digest


def test_digest_of_a_file_just_written_is_not_stored(tmp_path: Path) -> None:
    source, cache = tmp_path / "a", tmp_path / "digests.json"
    source.write_bytes(b"one")
    digests = DigestCache(cache, bytes(32))
    digests.get(source)
    digests.save()
    assert not cache.exists()


def test_prepared_counts_patients_not_images() -> None:
    image = np.zeros((1, 2, 2))
    cases = [
        PreparedCase(Case.without_files(f"case-{n}", f"pat-{n // 2}", split), image, n % 2, (1.0, 1.0))
        for n, split in enumerate(["train"] * 3 + ["test"])
    ]
    prepared = PreparedData("a", tuple(cases), (), True)
    assert prepared.count_patients("train") == 2
    assert [case.name for case in prepared.get_split("test")] == ["case-3"]
    assert prepared.count_patients("validation") == 0


def test_leftovers_of_a_process_that_is_gone_are_swept_and_those_of_one_at_work_are_not(tmp_path: Path) -> None:
    CacheFolder(tmp_path / "s")
    gone, busy = (tmp_path / "s" / f".tmp-case-A-{n}" for n in (1, 2))
    gone.mkdir()
    with files_module.temporary_folder(busy):
        for left in (gone, busy):
            os.utime(left, (time.time() - 120,) * 2)
        CacheFolder(tmp_path / "s")
        assert not gone.exists()
        assert busy.exists()
    assert not busy.exists()


def test_old_temporary_files_are_swept(tmp_path: Path) -> None:
    CacheFolder(tmp_path / "s")
    old = tmp_path / "s" / "index.json.1.tmp"
    old.write_text("{")
    os.utime(old, (time.time() - 90000,) * 2)
    CacheFolder(tmp_path / "s")
    assert not old.exists()


def test_index_forgets_cases_that_are_gone(tmp_path: Path) -> None:
    cache_folder = CacheFolder(tmp_path / "s")
    for key in (KEY, "f" * 64):
        cache_folder.write("case-A", key, arrays_of(), FACTS)
    cache_folder.save()
    shutil.rmtree(cache_folder.case_path("case-A", KEY))
    again = CacheFolder(tmp_path / "s")
    again.write("case-B", KEY, arrays_of(), FACTS)
    again.save()
    assert sorted(json.loads((tmp_path / "s" / "index.json").read_text())) == [f"case-A-{'f' * 16}", f"case-B-{KEY[:16]}"]


def test_digest_of_a_series_follows_each_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests_module, "_SETTLED", -1)
    paths = [tmp_path / f"{n}" for n in range(3)]
    for path in paths:
        path.write_bytes(path.name.encode())
    digests = DigestCache(tmp_path / "digests.json", bytes(32))
    first = digests.get(*paths)
    assert digests.get(*paths) == first
    assert digests.get(*paths[:2]) != first
    assert digests.get(*reversed(paths)) != first  # channels have an order
    paths[1].write_bytes(b"x")
    assert digests.get(*paths) != first
    digests.save()
    assert len(json.loads((tmp_path / "digests.json").read_text())) == 3


def test_digests_that_nobody_asked_for_in_half_a_year_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests_module, "_SETTLED", -1)
    today = int(time.time() // 86400)
    file = tmp_path / "digests.json"
    file.write_text(json.dumps({"old": [1, "a", "b", today - 181], "used": [1, "a", "b", today - 9]}))
    source = tmp_path / "a"
    source.write_bytes(b"one")
    digests = DigestCache(file, bytes(32))
    digests.get(source)
    digests.save()
    stored = json.loads(file.read_text())
    assert "used" in stored
    assert "old" not in stored
    assert len(stored) == 2


def test_processes_that_save_digests_one_after_the_other_keep_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests_module, "_SETTLED", -1)
    both = [DigestCache(tmp_path / "digests.json", bytes(32)) for _ in range(2)]
    for number, digests in enumerate(both):
        source = tmp_path / f"{number}"
        source.write_bytes(b"one")
        digests.get(source)
    for digests in both:
        digests.save()
    assert len(json.loads((tmp_path / "digests.json").read_text())) == 2
