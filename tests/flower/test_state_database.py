"""What medfl removes from the database of a running SuperLink, and what it must not."""

from __future__ import annotations

import importlib
import sqlite3
from pathlib import Path

import pytest

from medfl.flower import state_database
from medfl.flower.state_database import StateDatabase
from tests.flower.flower_database import ENDED, NODE, RUN, FlowerDatabase

# Flower configures its migrations in a way that Alembic warns of
pytestmark = pytest.mark.filterwarnings("ignore:No path_separator found:DeprecationWarning")

MODEL, OTHER = b"m" * 5000, b"o" * 7000


@pytest.fixture
def flower(tmp_path: Path) -> FlowerDatabase:
    return FlowerDatabase(tmp_path / "state.db")


def test_all_of_a_run_that_ended_goes(flower: FlowerDatabase) -> None:
    question, reply = flower.add_tree(ENDED, "question", (MODEL,)), flower.add_tree(ENDED, "reply", (OTHER,))
    flower.add_message("message_ins", ENDED, question)
    flower.add_message("message_res", ENDED, reply, question)
    flower.write("INSERT INTO object_push_sessions VALUES ('s', ?, '2026-01-01', 1)", ENDED - 2**64)
    with StateDatabase(flower.path) as database:
        assert database.prune_ended() == 6
    for table in (
        *("objects", "object_children", "run_objects", "message_ins", "message_res"),
        *("object_push_sessions",),
    ):
        assert flower.count(table) == 0, table
    assert flower.count("run") == 2  # which Flower lists


@pytest.mark.parametrize("has_task", [True, False], ids=["goes on", "unknown"])
def test_a_run_that_is_not_known_to_have_ended_keeps_everything(flower: FlowerDatabase, *, has_task: bool) -> None:
    question = flower.add_tree(RUN, "question", (MODEL, OTHER))
    flower.add_message("message_ins", RUN, question)
    if not has_task:
        flower.write("DELETE FROM task WHERE task_id = ?", RUN)
    with StateDatabase(flower.path) as database:
        assert database.has_active_run()
        assert database.prune_ended() == 0
    assert (flower.count("objects"), flower.count("message_ins")) == (4, 1)


def test_what_a_running_run_shares_with_one_that_ended_stays_whole(flower: FlowerDatabase) -> None:
    flower.add_tree(ENDED, "then", (MODEL, OTHER))
    now = flower.add_tree(RUN, "now", (MODEL, OTHER))
    with StateDatabase(flower.path) as database:
        assert database.prune_ended() == 1  # the message alone: its model is asked for by both
    record = flower.store.get_object_tree(now).children[0]
    assert [flower.store.get(leaf.object_id) for leaf in record.children] in ([MODEL, OTHER], [OTHER, MODEL])
    flower.store.delete(now)  # as Flower does once it was received: the counts of parents are right
    assert flower.count("objects") == 0


def test_an_object_that_a_new_run_takes_up_while_it_is_pruned_stays(flower: FlowerDatabase) -> None:
    root = flower.add_tree(ENDED, "question", (MODEL,))
    with StateDatabase(flower.path) as database:
        flower.add_tree(RUN, "question", (MODEL,))
        assert database._remove_trees([root], only_ended=True) == 0
    assert flower.count("objects") == 3


def test_what_another_object_contains_stays(flower: FlowerDatabase) -> None:
    root = flower.add_tree(RUN, "question", (MODEL,))
    with StateDatabase(flower.path) as database:
        assert database._remove_trees([flower.store.get_object_tree(root).children[0].object_id]) == 0
    assert flower.count("objects") == 3


def test_only_what_no_message_asks_for_counts_as_unasked(flower: FlowerDatabase) -> None:
    kept = [flower.add_tree(RUN, name, (name.encode(),)) for name in ("waits", "answers", "comes in", "waits for an agent")]
    flower.add_message("message_ins", RUN, kept[0])
    flower.add_message("message_res", RUN, kept[1], "x")
    flower.write("INSERT INTO object_push_sessions VALUES ('s', ?, '2026-01-01', 1)", RUN)
    flower.write("INSERT INTO object_push_session_roots VALUES ('s', ?)", kept[2])
    flower.write(
        "INSERT INTO message (message_id, run_id, src_node_id, dst_node_id, group_id, created_at, ttl, message_type,"
        " expires_at) VALUES (?, 1, 1, 1, '', 0, 0, '', '2099-01-01')",
        kept[3],
    )
    gone = [flower.add_tree(RUN, name, (MODEL, name.encode())) for name in ("expired", "nobody's")]
    flower.add_message("message_ins", RUN, gone[0], ttl=-1.0)
    with StateDatabase(flower.path) as database:
        assert database.find_unasked() == set(gone)
        assert database.prune_unasked([*gone, *kept]) == 7
        assert database.find_unasked() == set()
    assert flower.count("objects") == 4 * 3


def test_replies_are_counted_by_node_and_dropped_with_their_questions(flower: FlowerDatabase) -> None:
    other = 77
    for node, content in ((NODE, MODEL), (other, OTHER)):
        question, reply = (flower.add_tree(RUN, f"{kind} {node}", (content,)) for kind in ("question", "reply"))
        flower.add_message("message_ins", RUN, question)
        flower.add_message("message_res", RUN, reply, question, node=node)
        flower.write("INSERT INTO object_push_sessions VALUES (?, ?, '2026-01-01', 1)", f"s{node}", RUN)
        flower.write("INSERT INTO object_push_session_roots VALUES (?, ?)", f"s{node}", reply)
    with StateDatabase(flower.path) as database:
        assert database.held_bytes() == {NODE: 13 + len(MODEL), other: 13 + len(OTHER)}
        database.drop_replies(NODE)
        assert database.held_bytes() == {other: 13 + len(OTHER)}
    assert flower.read("SELECT src_node_id FROM message_res") == [(other,)]
    assert flower.count("message_ins") == 1
    assert flower.read("SELECT session_id FROM object_push_sessions") == [(f"s{other}",)]


def test_a_reply_that_a_run_takes_while_it_still_comes_in_is_dropped_once_it_is_too_large(flower: FlowerDatabase) -> None:
    roots = {name: flower.add_tree(RUN, name, (name.encode(), MODEL)) for name in ("endless", "waits", "of the server")}
    small = flower.add_tree(RUN, "small", (b"s",))
    for session, root in enumerate((*roots.values(), small)):
        flower.write("INSERT INTO object_push_sessions VALUES (?, ?, '2026-01-01', 1)", str(session), RUN)
        flower.write("INSERT INTO object_push_session_roots VALUES (?, ?)", str(session), root)
    flower.add_message("message_res", RUN, roots["waits"], "x")
    flower.add_message("message_ins", RUN, roots["of the server"])
    with StateDatabase(flower.path) as database:
        assert database.drop_endless(len(MODEL)) == 1
        assert database.drop_endless(len(MODEL)) == 0
    assert flower.store.get(roots["endless"]) is None
    for root in (roots["waits"], roots["of the server"], small):
        assert flower.store.get(root) == b"message"
    assert flower.read("SELECT session_id FROM object_push_sessions ORDER BY 1") == [("1",), ("2",), ("3",)]


def test_nothing_of_a_model_is_left_in_the_files_once_its_run_ended(flower: FlowerDatabase) -> None:
    secret = b"a weight that was learned from patients " * 500
    flower.add_tree(ENDED, "question", (secret,))
    flower.write("DELETE FROM run WHERE run_id = ?", RUN)
    flower.store._engine.dispose()  # type: ignore[union-attr]
    with StateDatabase(flower.path) as database:
        database.prune_ended()
        database._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for file in flower.path.parent.iterdir():
            assert secret[:40] not in file.read_bytes(), file.name


def test_the_file_shrinks_while_no_run_goes_on_and_only_then(flower: FlowerDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_database, "_SPARE_PAGES", 100)
    flower.add_tree(ENDED, "question", (MODEL * 1000,))
    with StateDatabase(flower.path) as database:
        database.prune_ended()
        assert not database.compact()
        flower.write("UPDATE task SET finished_at = '2026-01-02'")
        assert database.compact()
        assert not database.compact()  # once
    assert flower.path.stat().st_size < 1 << 20


def test_it_waits_for_no_lock_for_long(flower: FlowerDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_database, "_BUSY_SECONDS", 0.1)
    flower.add_tree(ENDED, "question", (MODEL,))
    holder = sqlite3.connect(flower.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with StateDatabase(flower.path) as database, pytest.raises(sqlite3.OperationalError, match="locked"):
        database.prune_ended()
    holder.close()
    assert flower.count("objects") == 3


def test_a_superlink_overwrites_what_it_removes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from flwr.supercore import sql_mixin

    from medfl.flower.tasks import run_superlink

    monkeypatch.setattr(sql_mixin, "SQLITE_PRAGMAS", sql_mixin.SQLITE_PRAGMAS)
    cli = importlib.import_module("flwr.superlink.cli.flower_superlink")  # its package has a function of that name
    monkeypatch.setattr(cli, "flower_superlink", lambda: None)
    run_superlink()
    store = FlowerDatabase(tmp_path / "state.db").store
    assert store.query("PRAGMA secure_delete")[0]["secure_delete"] == 1
    assert store.query("PRAGMA busy_timeout")[0]["timeout"] == 25_000
