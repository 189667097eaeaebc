"""Files are complete or absent, private where they should be, and a failure is reported."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from medfl.errors import RunError
from medfl.system.files import write_file, write_private


def test_the_folder_is_made_and_an_older_file_with_other_rights_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.json"
    path.parent.mkdir()
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, b"{}")
    assert path.read_bytes() == b"{}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "DISK-FULL"), (errno.EACCES, "RUN-FOLDER")])
def test_a_failure_is_reported_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(RunError) as caught:
        write_private(tmp_path / "a.json", b"{}", "the fingerprint")
    assert caught.value.code == code
    assert "the fingerprint" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("private", [False, True])
def test_only_a_private_file_is_kept_from_others_whatever_the_umask(tmp_path: Path, private: bool) -> None:
    before = os.umask(0o022)
    try:
        write_file(tmp_path / "a", b"1", private=private)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == (0o600 if private else 0o644)


@pytest.mark.parametrize("refused", ["fsync", "link", "open"])
def test_a_write_that_fails_keeps_the_older_file_and_no_part_of_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(os, refused, full)
    with pytest.raises(OSError, match="No space"):
        write_file(tmp_path / "a", b"new", replace=refused != "link")
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old"}


def test_a_file_that_may_not_be_replaced_stays(tmp_path: Path) -> None:
    write_file(tmp_path / "a", b"first", replace=False)
    with pytest.raises(FileExistsError):
        write_file(tmp_path / "a", b"second", replace=False)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"first"}


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_written_by_several_at_once_is_always_one_of_theirs(tmp_path: Path, durable: bool) -> None:
    path, contents = tmp_path / "a", [bytes([k]) * 200_000 for k in range(4)]
    write_file(path, contents[0])
    writers = [
        threading.Thread(target=lambda content=content: [write_file(path, content, durable=durable) for _ in range(10)])
        for content in contents
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.read_bytes() in contents
    for writer in writers:
        writer.join()
    assert path.read_bytes() in contents
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_what_killed_writes_left_of_a_private_file_is_removed_by_the_next(tmp_path: Path) -> None:
    old, young = tmp_path / ".site.key.0a1b2c3d.tmp", tmp_path / ".site.key.4e5f6a7b.tmp"
    other = tmp_path / ".site.key.bak.4e5f6a7b.tmp"
    for file in (old, young, other):
        file.write_bytes(b"part of a key")
    os.utime(old, (0, 0))
    os.utime(other, (0, 0))  # of another file
    write_file(tmp_path / "site.key", b"key", private=True)
    assert sorted(tmp_path.iterdir()) == sorted([young, other, tmp_path / "site.key"])
