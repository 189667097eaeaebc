"""Index of files: facts are used until the file changes, whatever happens to the process or to the index."""

from __future__ import annotations

import builtins
import multiprocessing
import os
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest

from medfl.data.index import file_index, parallel_reading
from medfl.data.index.database import INDEX_FILE
from medfl.data.index.file_index import FileIndex
from medfl.data.store.cache_key import site_root
from medfl.site import Resources, Site, SiteData


@pytest.fixture
def site(tmp_path: Path, write_series: Any, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Return a site with two series of eight slices, a NIfTI file, a text without a suffix and a hidden file."""
    monkeypatch.setattr(file_index, "_SETTLED", 0)  # the files are new
    for name in ("a", "b"):
        write_series(tmp_path / "data" / name, lambda k, ds, name=name: setattr(ds, "PatientID", name))
    for name in ("volume.nii", "note", ".hidden"):
        (tmp_path / "data" / name).write_bytes(b"no DICOM")
    return Site(name="north", folder=tmp_path, data=SiteData(root="data"), resources=Resources(store="store"))


def list_files(site: Site) -> tuple[dict[str, str], int, bool]:
    """Return the patient of each DICOM file by name, the number of opened files, and whether everything was saved."""
    with FileIndex(site) as index:
        items = index.tree(site.root)
        return (
            {str(item.path.relative_to(site.root)): item.patient for item in items},
            index.opened_count,
            index.problem is None,
        )


def database(site: Site) -> Path:
    return site_root(site) / INDEX_FILE


def test_an_unchanged_file_is_not_opened_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    first, opened, _ = list_files(site)
    assert (len(first), opened) == (16, 17)  # and the text without a suffix
    assert set(first.values()) == {"a", "b"}

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a file was opened")

    monkeypatch.setattr(builtins, "open", refuse)
    assert list_files(site) == (first, 0, True)


def test_changed_new_and_vanished_files_are_noticed(site: Site, write_series: Any) -> None:
    list_files(site)
    changed, vanished = sorted((site.root / "a").iterdir())[:2]
    stamp = changed.stat()
    changed.write_bytes(changed.read_bytes().replace(b"LO\x02\x00a ", b"LO\x02\x00z "))  # of the same length
    os.utime(changed, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # and with the same date, as a copying program leaves it
    vanished.unlink()
    write_series(site.root / "c", count=1)
    found, opened, _ = list_files(site)
    assert (len(found), opened) == (16, 2)
    assert found[f"a/{changed.name}"] == "z"
    connection = sqlite3.connect(database(site))
    names = {os.fsdecode(name) for (name,) in connection.execute("SELECT path FROM files")}
    connection.close()
    assert names == {*found, "note"}


def test_a_file_that_has_just_changed_is_not_saved(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_index, "_SETTLED", 10**12)
    assert list_files(site)[1] == list_files(site)[1] == 17


def test_an_interrupted_run_continues_where_it_was(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel_reading, "_BATCH", 5)

    def stop(done: int, total: int) -> None:
        if done >= 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), FileIndex(site, stop) as index:
        index.tree(site.root)
    assert list_files(site)[1] == 7


def test_only_the_owner_can_read_the_index(site: Site) -> None:
    list_files(site)
    file = database(site)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent, file.parent.parent)] == [0o600, 0o700, 0o700]


@pytest.mark.parametrize("damage", [b"no database at all", b"SQLite format 3\0" + bytes(5000)])
def test_a_damaged_index_is_made_again(site: Site, damage: bytes) -> None:
    first = list_files(site)[0]
    database(site).write_bytes(damage)
    assert list_files(site) == (first, 17, True)
    assert list_files(site) == (first, 0, True)


def test_an_index_damaged_in_the_middle_gives_no_wrong_rows(site: Site) -> None:
    first = list_files(site)[0]
    content = bytearray(database(site).read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    database(site).write_bytes(content)
    assert list_files(site)[0] == first
    assert list_files(site) == (first, 0, True)


def test_an_index_of_another_version_or_folder_is_made_again(site: Site, tmp_path: Path) -> None:
    list_files(site)
    connection = sqlite3.connect(database(site))
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    assert list_files(site)[1] == 17
    moved = site.model_copy(update={"data": SiteData(root="moved")})
    site.root.rename(tmp_path / "moved")
    assert list_files(moved)[1] == 17


def test_without_a_place_for_the_index_files_are_read_every_time(site: Site, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file where the folder should be")
    found, opened, saved = list_files(site)
    assert (len(found), opened, saved) == (16, 17, False)


def test_a_full_disk_costs_time_only(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    list_files(site)
    extra = sorted((site.root / "a").iterdir())[0]
    extra.with_name("copy").write_bytes(extra.read_bytes())
    connect = sqlite3.connect

    def connect_to_small_database(*args: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*args, **options)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        connection.execute(
            "CREATE TEMP TRIGGER full BEFORE INSERT ON main.files BEGIN INSERT INTO cases VALUES (0,0,0,randomblob(1e6)); END"
        )
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect_to_small_database)
    found, opened, saved = list_files(site)
    assert (len(found), opened, saved) == (17, 1, False)
    monkeypatch.undo()
    monkeypatch.setattr(file_index, "_SETTLED", 0)
    assert list_files(site)[1:] == (1, True)  # what was saved before is still there


def test_several_processes_open_many_files(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    in_one_process = list_files(site)[0]
    paths = [str(site.root / name) for name in in_one_process]
    monkeypatch.setattr(parallel_reading, "_BATCH", 3)
    rows = dict(pair for batch in parallel_reading.read_file_facts(paths, workers=2) for pair in batch)
    assert rows == {index: parallel_reading.probe_facts(path) for index, path in enumerate(paths)}


def test_a_worker_that_cannot_start_costs_time_only(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    paths = [str(path) for path in sorted((site.root / "a").iterdir())]
    assert [index for batch in parallel_reading.read_file_facts(paths, workers=2) for index, _ in batch] == list(range(8))


def _list_in_process(site: Site, queue: Any) -> None:
    file_index._SETTLED = 0
    queue.put(list_files(site)[0])


def test_several_processes_may_use_the_index_at_once(site: Site) -> None:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=_list_in_process, args=(site, queue)) for _ in range(3)]
    for process in processes:
        process.start()
    found = [queue.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    assert found[0] == found[1] == found[2]
    assert list_files(site) == (found[0], 0, True)


def test_names_that_are_not_text_and_files_that_cannot_be_opened(site: Site) -> None:
    odd = os.fsencode(site.root / "a") + b"/\xff\xfe"
    os.rename(os.fsencode(sorted((site.root / "a").iterdir())[0]), odd)
    (site.root / "nowhere").symlink_to("gone")
    with FileIndex(site) as index:
        kinds = {os.fsencode(item.path): item.kind for item in index.tree(site.root)}
    assert kinds[odd] == "dicom"
    assert kinds[os.fsencode(site.root / "nowhere")] == "unopened"
    assert list_files(site)[1] == 0  # there is nothing to open


def test_links_and_pipes_are_told_before_anything_is_opened(site: Site, tmp_path: Path) -> None:
    first = sorted((site.root / "a").iterdir())[0]
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "slice").write_bytes(first.read_bytes())
    (site.root / "a" / "out").symlink_to(outside / "slice")
    (site.root / "a" / "same").symlink_to(first.name)
    (site.root / "a" / "circle").symlink_to("circle")
    os.mkfifo(site.root / "a" / "pipe")
    (site.root / "b" / "to-the-pipe").symlink_to(site.root / "a" / "pipe")
    (site.root / ".store").mkdir()
    (site.root / ".store" / "slice").write_bytes(first.read_bytes())
    (site.root / "b" / "from-the-store").symlink_to("../.store/slice")
    os.link(first, site.root / "a" / "hard")
    with FileIndex(site) as index:
        kinds = {item.path.name: item.kind for item in index.tree(site.root) if not item.path.name.endswith(".dcm")}
        skipped = index.skipped
    assert kinds == {
        "out": "outside",
        "circle": "unopened",
        "pipe": "special",
        "to-the-pipe": "special",
        "from-the-store": "dicom",
        "hard": "dicom",
    }
    assert [len(s) for s in (skipped.outside, skipped.broken, skipped.special, skipped.repeated)] == [1, 1, 2, 1]


def test_a_link_to_a_file_of_another_folder_is_that_file_when_the_folder_is_read_by_itself(site: Site) -> None:
    (site.root / "chosen").mkdir()
    for path in sorted((site.root / "a").iterdir())[:3]:
        (site.root / "chosen" / path.name).symlink_to(path)
    with FileIndex(site) as index:
        assert len(index.tree(site.root / "chosen")) == 3
        assert len(index.tree(site.root)) == 16  # each once


def test_what_is_no_dicom_is_told_by_kind(site: Site) -> None:
    for name, content in (("0", b""), ("zeros", bytes(900)), ("zipped", b"PK\x03\x04" + bytes(90)), ("page", b"<html>")):
        (site.root / "a" / name).write_bytes(content)
    (site.root / "a" / "1.dcm.gz").write_bytes(b"anything")
    with FileIndex(site) as index:
        kinds = {item.path.name: item.kind for item in index.others(site.root)}
    assert kinds.pop("note") == kinds.pop("volume.nii") == "other"
    assert kinds == {"0": "empty", "zeros": "empty", "zipped": "archive", "page": "other", "1.dcm.gz": "archive"}
