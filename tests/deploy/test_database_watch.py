"""The server's database: what the watch removes when, and what the operator hears."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from medfl.deploy import database_watch
from medfl.deploy.database_watch import DatabaseWatch
from medfl.deploy.federation_folder import FEDERATION_FILE, FederationFolder, open_federation
from medfl.flower import state_database
from medfl.system.files import private_files
from tests.deploy.local_server import make_federation
from tests.flower.flower_database import ENDED, NODE, RUN, FlowerDatabase

# Flower configures its migrations in a way that Alembic warns of
pytestmark = pytest.mark.filterwarnings("ignore:No path_separator found:DeprecationWarning")


@pytest.fixture
def folder(tmp_path: Path) -> FederationFolder:
    """Return a federation whose hospitals may hold one megabyte each."""
    path = make_federation(tmp_path).path
    settings = path / FEDERATION_FILE
    settings.write_text(settings.read_text().replace("[superlink]", "[superlink]\nmax-site-megabytes = 1"))
    (path / "superlink").mkdir(exist_ok=True)
    (path / "superlink" / "nodes.json").write_text(f'{{"hospital-1": {{"node": "{NODE}", "key": "k"}}}}')
    return open_federation(path)


@pytest.fixture
def flower(folder: FederationFolder) -> FlowerDatabase:
    return FlowerDatabase(folder.path / "superlink" / "state.db")


def test_a_hospital_beyond_the_ceiling_loses_its_replies_and_is_named_once(
    folder: FederationFolder, flower: FlowerDatabase
) -> None:
    said: list[str] = []
    watch = DatabaseWatch(folder, said.append)
    for turn in range(2):
        question = flower.add_tree(RUN, f"question {turn}", (b"q",))
        flower.add_message("message_ins", RUN, question)
        flower.add_message("message_res", RUN, flower.add_tree(RUN, f"reply {turn}", (os.urandom(2 << 20),)), question)
        flower.add_message("message_res", RUN, flower.add_tree(RUN, f"small {turn}", (b"s",)), f"x{turn}", node=5)
        watch.check()
    assert [row[0] for row in flower.read("SELECT DISTINCT src_node_id FROM message_res")] == [5]
    assert len(said) == 1
    assert "hospital-1 sent 2 MiB" in said[0]
    assert "max-site-megabytes" in said[0]


def test_a_reply_without_end_is_dropped_while_a_run_takes_it(folder: FederationFolder, flower: FlowerDatabase) -> None:
    said: list[str] = []
    root = flower.add_tree(RUN, "reply", (os.urandom(2 << 20),))
    flower.write("INSERT INTO object_push_sessions VALUES ('s', ?, '2026-01-01', 1)", RUN)
    flower.write("INSERT INTO object_push_session_roots VALUES ('s', ?)", root)
    DatabaseWatch(folder, said.append).check()
    assert flower.count("objects") == 0
    assert ["more than 1 MiB" in line for line in said] == [True]


def test_what_nobody_asks_for_goes_after_a_while_not_at_once(
    folder: FederationFolder, flower: FlowerDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = DatabaseWatch(folder, print)
    flower.add_tree(RUN, "handed over, and still being fetched", (b"model",))
    watch.check()
    watch.check()
    assert flower.count("objects") == 3
    monkeypatch.setattr(database_watch, "_UNASKED_SECONDS", 0.0)
    watch.check()
    assert flower.count("objects") == 0


def test_a_run_that_ended_goes_at_once(folder: FederationFolder, flower: FlowerDatabase) -> None:
    flower.add_tree(ENDED, "question", (b"model",))
    DatabaseWatch(folder, print).check()
    assert flower.count("objects") == 0


def test_a_busy_database_is_left_for_the_next_time(
    folder: FederationFolder, flower: FlowerDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_database, "_BUSY_SECONDS", 0.1)
    flower.add_tree(ENDED, "question", (b"model",))
    watch, holder = DatabaseWatch(folder, print), sqlite3.connect(flower.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    watch.check()
    assert flower.count("objects") == 3
    holder.close()
    watch.check()
    assert flower.count("objects") == 0


def test_a_backup_that_is_being_made_is_whole(folder: FederationFolder, flower: FlowerDatabase, tmp_path: Path) -> None:
    flower.add_tree(ENDED, "question", (os.urandom(1 << 20),))
    source, copy = sqlite3.connect(flower.path), sqlite3.connect(tmp_path / "copy.db")
    watch = DatabaseWatch(folder, print)
    source.backup(copy, pages=10, progress=lambda *_: watch.check())
    assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    source.close()
    copy.close()


def test_a_server_without_a_database_yet_has_nothing_to_prune(folder: FederationFolder) -> None:
    DatabaseWatch(folder, print).check()
    assert not (folder.path / "superlink" / "state.db").exists()


def test_files_are_private_inside_and_as_before_outside(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with private_files():
            (tmp_path / "a").write_text("")
            (tmp_path / "b").mkdir()
        (tmp_path / "c").write_text("")
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in "abc"] == [0o600, 0o700, 0o644]
