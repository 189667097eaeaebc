"""Which sites are connected, as Flower's server tells it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from medfl.cli.app import app
from medfl.deploy import nodes, presence
from medfl.deploy.presence import list_presence
from medfl.errors import DeployError
from tests.deploy.local_server import make_federation

LISTED = [
    {"node-id": "1", "status": "online", "online-at": "2026-11-30 08:00:00Z", "offline-at": "N/A"},
    {"node-id": "2", "status": "offline", "online-at": "2026-11-30 08:00:00Z", "offline-at": "2026-11-30 09:30:00Z"},
    {"node-id": "3", "status": "registered", "online-at": "N/A", "offline-at": "N/A"},
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a federation of three sites: one is connected, one left, one never came."""
    federation = make_federation(tmp_path, ["north", "south", "west"])
    nodes._write_nodes(federation, {"north": ("1", "a"), "south": ("2", "b"), "west": ("3", "c")})

    def flwr(*_: Any) -> dict[str, Any]:
        return {"success": True, "nodes": LISTED}

    monkeypatch.setattr(presence, "run_flwr", flwr)
    return federation.path


def sites(folder: Path, *words: str) -> str:
    return CliRunner().invoke(app, ["server", "sites", "--federation", str(folder), *words]).output


def test_each_site_is_online_or_was_last_seen_or_never_came(folder: Path) -> None:
    from medfl.deploy.federation_folder import open_federation

    found = list_presence(open_federation(folder))
    assert {name: str(site) for name, site in found.items()} == {
        "north": "online",
        "south": "offline since 2026-11-30 09:30 UTC",
        "west": "never",
    }


def test_operators_see_it(folder: Path) -> None:
    assert "2026-11-30" in sites(folder)
    rows = {row["name"]: (row["online"], row["last-seen"]) for row in json.loads(sites(folder, "--json"))}
    assert rows["south"] == (False, "2026-11-30T09:30:00+00:00")
    assert rows["west"] == (False, None)
    assert rows["north"][0] is True


def test_without_a_server_it_is_unknown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: Any) -> dict[str, Any]:
        raise DeployError("SERVER-DOWN", "the server of this federation is not running.")

    monkeypatch.setattr(presence, "run_flwr", down)
    assert "unknown" in sites(folder)
    assert all(row["online"] is None for row in json.loads(sites(folder, "--json")))
