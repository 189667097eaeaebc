"""A ledger that is damaged, closed, full or held answers nothing, and loses nothing."""

from __future__ import annotations

import os
import resource
import sqlite3
from pathlib import Path

import pytest

from medfl.errors import DataError
from medfl.privacy.ledger import Ledger
from medfl.privacy.ledger_database import LedgerDatabase
from tests.privacy.asking import HASH, STUDY, answer, ask, reply
from tests.privacy.ledger_steps import again, clock, ledger

__all__ = ["clock", "ledger"]  # fixtures


def test_every_change_waits_for_the_disk(tmp_path: Path) -> None:
    with LedgerDatabase(tmp_path / "budget").transaction() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL: a loss of power brings nothing back


def test_only_the_owner_may_read_it(tmp_path: Path, ledger: Ledger) -> None:
    answer(ledger, ask("train", 1))
    for path in [tmp_path / "budget", *(tmp_path / "budget").rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0


def spoil_file(folder: Path) -> None:
    content = bytearray((folder / "ledger.db").read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    (folder / "ledger.db").write_bytes(content)


def use_foreign_file(folder: Path) -> None:
    (folder / "ledger.db").write_bytes(b"not a database" * 1000)


def lose_file(folder: Path) -> None:
    (folder / "ledger.db").unlink()


def empty_file(folder: Path) -> None:
    (folder / "ledger.db").write_bytes(b"")


def write_with_later_version(folder: Path) -> None:
    with sqlite3.connect(folder / "ledger.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def spoil_answer(folder: Path) -> None:
    path = next((folder / "answers").rglob("*.answer"))
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")


def lengthen_answer(folder: Path) -> None:
    path = next((folder / "answers").rglob("*.answer"))
    path.write_bytes(path.read_bytes() + b"\x00")


DAMAGES = [spoil_file, use_foreign_file, lose_file, empty_file, write_with_later_version, spoil_answer, lengthen_answer]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_ledger_answers_nothing(tmp_path: Path, ledger: Ledger, damage: object) -> None:
    answer(ledger, ask("train", 1))
    assert callable(damage)
    damage(tmp_path / "budget")
    with pytest.raises(DataError, match="LEDGER-DAMAGED") as caught:
        Ledger(tmp_path / "budget").reserve(HASH, ask("train", 1), STUDY)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_answers_nothing(tmp_path: Path, ledger: Ledger) -> None:
    answer(ledger, ask("train", 1))
    (tmp_path / "budget").chmod(0o500)
    try:
        with pytest.raises(DataError, match="LEDGER-DAMAGED"):
            ledger.reserve(HASH, ask("train", 2), STUDY)
    finally:
        (tmp_path / "budget").chmod(0o700)


def test_a_full_disk_answers_nothing_and_the_question_can_come_again(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    reserved = ledger.reserve(HASH, ask("train", 1), STUDY)
    with monkeypatch.context() as full:
        full.setattr("medfl.system.files._write_new", _raise_full)
        with pytest.raises(DataError, match=r"LEDGER-DAMAGED.*full"):
            ledger.settle(reserved, reply(1))
    assert again(ledger, ask("train", 1)) is None
    ledger.settle(reserved, reply(1))


def _fill(ledger: Ledger) -> None:
    for k in range(300):
        ledger.allow_runs(f"{k:064d}", "tiny")


@pytest.mark.parametrize("room", [0, 8192, 60000])
def test_a_disk_that_fills_up_under_the_record_answers_nothing_and_spoils_nothing(
    tmp_path: Path, ledger: Ledger, room: int
) -> None:
    answer(ledger, ask("train", 1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(DataError, match="LEDGER-DAMAGED"):
            _fill(ledger)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert again(Ledger(tmp_path / "budget"), ask("train", 1)) is not None
    answer(ledger, ask("train", 4))


def test_a_process_that_never_lets_go_is_not_waited_for_for_ever(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(ledger, ask("train", 1))
    monkeypatch.setattr("medfl.privacy.ledger_database._LOCK_TIMEOUT", 0.05)
    other = sqlite3.connect(tmp_path / "budget" / "ledger.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DataError, match=r"LEDGER-DAMAGED.*too long"):
        ledger.reserve(HASH, ask("train", 2), STUDY)
    other.close()
    answer(ledger, ask("train", 2))


def _raise_full(*_: object) -> None:
    raise OSError(28, "No space left on device")
