"""Backup of a server's folder while its database is written to, and what is in it."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medfl.cli.app import app
from medfl.deploy.backup import backup
from medfl.deploy.federation_folder import FederationFolder, open_federation
from medfl.deploy.site_registry import list_enrolled, revoke
from medfl.errors import DeployError
from tests.deploy.local_server import make_federation


@pytest.fixture
def federation(tmp_path: Path) -> FederationFolder:
    federation = make_federation(tmp_path, ("north", "south"))
    revoke(federation, "south")
    with closing(sqlite3.connect(federation.path / "superlink" / "state.db")) as database:
        database.executescript("PRAGMA journal_mode = WAL; CREATE TABLE pairs (one INTEGER, other INTEGER);")
    return federation


def test_a_copy_is_of_one_moment_while_the_database_is_written_to(federation: FederationFolder, tmp_path: Path) -> None:
    done, writing = threading.Event(), threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(federation.path / "superlink" / "state.db", timeout=60)) as database:
            number = 0
            while not done.is_set():
                with database:  # both or none
                    database.execute("INSERT INTO pairs VALUES (?, 0)", (number,))
                    database.execute("UPDATE pairs SET other = ? WHERE one = ?", (number, number))
                number += 1
                if number > 20:
                    writing.set()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        assert writing.wait(60)
        copy = open_federation(backup(federation, tmp_path / "copy"))
    finally:
        done.set()
        writer.join(60)
    with closing(sqlite3.connect(copy.path / "superlink" / "state.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        count, torn = database.execute("SELECT count(*), sum(one != other) FROM pairs").fetchone()
    assert count > 20
    assert torn == 0


def test_it_holds_what_a_server_needs_and_its_owner_alone_may_read_it(federation: FederationFolder, tmp_path: Path) -> None:
    (federation.runs / "study" / "run").mkdir(parents=True)
    (federation.runs / "study" / "run" / "best.safetensors").write_bytes(b"model")
    (federation.path / "logs" / "nginx.log").write_text("much")
    copy = open_federation(backup(federation, tmp_path / "copy"))
    assert {site.name: site.state() for site in list_enrolled(copy)} == {"north": "valid", "south": "revoked"}
    for path in (copy.ca_key, copy.server_key, copy.crl):
        assert path.read_bytes() == (federation.path / path.relative_to(copy.path)).read_bytes()
    assert (copy.runs / "study" / "run" / "best.safetensors").read_bytes() == b"model"
    assert not (copy.path / "logs" / "nginx.log").exists()
    assert copy.path.stat().st_mode & 0o077 == 0
    assert [path for path in copy.path.rglob("*") if path.is_file() and path.stat().st_mode & 0o077] == []


def test_nothing_is_written_over(federation: FederationFolder, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for target in (tmp_path / "there", federation.path / "inside"):
        with pytest.raises(DeployError, match="BACKUP-EXISTS"):
            backup(federation, target)
    assert list((tmp_path / "there").iterdir()) == []


def test_what_was_begun_is_removed_when_the_disk_is_full(
    federation: FederationFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medfl.deploy.backup._copy_database", full)
    before = set(tmp_path.iterdir())
    done = CliRunner().invoke(app, ["server", "backup", str(tmp_path / "copy"), "--federation", str(federation.path)])
    assert done.exit_code != 0
    assert set(tmp_path.iterdir()) == before
