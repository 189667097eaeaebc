"""Nodes of Flower's server: exactly the sites that are enrolled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medfl.deploy import nodes, site_registry
from medfl.deploy.federation_folder import FederationFolder
from medfl.deploy.identity import make_key, read_request, write_request
from medfl.deploy.nodes import forget_stale_nodes, reconcile, unregister_unknown_nodes
from medfl.errors import DeployError
from tests.deploy.local_server import make_federation


class FakeFlower:
    """Fake of Flower's server: accepts a key only once, ever, and reports neither names nor keys."""

    def __init__(self) -> None:
        self.keys: dict[str, str] = {}  # key: id of its node
        self.names: dict[str, str] = {}  # id of the node: name
        self.unregistered: set[str] = set()
        self.down = False
        self.fails_for = ""
        self.stuck = False  # nothing can be unregistered

    def __call__(self, folder: FederationFolder, *arguments: str) -> dict[str, Any]:
        if self.down:
            raise DeployError("SERVER-DOWN", "the server of this federation is not running.")
        _, action, *rest = arguments
        if action == "list":
            listed = [
                {"node-id": n, "status": "unregistered" if n in self.unregistered else "online"} for n in self.keys.values()
            ]
            return {"success": True, "nodes": listed}
        if action == "unregister" and self.stuck:
            raise DeployError("FLOWER-SAYS-NO", "Flower refused.")
        if action == "unregister":
            self.unregistered.add(rest[0])
            return {"success": True}
        name, key = rest[rest.index("--name") + 1], Path(rest[0]).read_text()
        if name == self.fails_for:
            raise DeployError("FLOWER-SAYS-NO", "Flower refused.")
        if key in self.keys:
            raise DeployError("FLOWER-SAYS-NO", "Flower refused: Public key already in use.")
        node_id = str(1000 + len(self.keys))
        self.keys[key], self.names[node_id] = node_id, name
        return {"success": True, "node-id": node_id}

    def active(self) -> set[str]:
        """Return the names of the sites that may send requests."""
        return {name for node_id, name in self.names.items() if node_id not in self.unregistered}


@pytest.fixture
def flower(monkeypatch: pytest.MonkeyPatch) -> FakeFlower:
    """Replace Flower's command by the fake."""
    fake = FakeFlower()
    monkeypatch.setattr(nodes, "run_flwr", fake)
    return fake


def test_enrolled_sites_may_take_part_and_revoked_ones_may_not(tmp_path: Path, flower: FakeFlower) -> None:
    folder, lines = make_federation(tmp_path, ("a", "b", "c")), list[str]()
    assert reconcile(folder, lines.append) == ()
    assert flower.active() == {"a", "b", "c"}
    site_registry.revoke(folder, "b")
    assert reconcile(folder, lines.append) == ()
    assert flower.active() == {"a", "c"}
    assert lines == [
        "a may take part.",
        "b may take part.",
        "c may take part.",
        "b is out: its requests are refused from now on.",
    ]


def test_flower_gets_no_command_while_nothing_changes(tmp_path: Path, flower: FakeFlower) -> None:
    folder = make_federation(tmp_path, ("a",))
    reconcile(folder, print)
    flower.down = True
    assert reconcile(folder, print) == ()


def test_a_site_with_a_new_key_takes_part_with_that_key_only(tmp_path: Path, flower: FakeFlower) -> None:
    folder = make_federation(tmp_path, ("a",))
    reconcile(folder, print)
    site_registry.revoke(folder, "a")
    make_key(tmp_path / "new.key")
    write_request(tmp_path / "new.key", "a", tmp_path / "new.json")
    site_registry.enrol(folder, read_request(tmp_path / "new.json"))
    reconcile(folder, print)
    assert flower.active() == {"a"}
    assert (len(flower.keys), len(flower.unregistered)) == (2, 1)


def test_a_problem_with_one_site_does_not_hold_up_the_others(tmp_path: Path, flower: FakeFlower) -> None:
    folder = make_federation(tmp_path, ("a", "b", "c"))
    flower.fails_for = "a"
    (error,) = reconcile(folder, print)
    assert error.code == "FLOWER-SAYS-NO"
    assert flower.active() == {"b", "c"}
    flower.fails_for = ""
    assert reconcile(folder, print) == ()
    assert flower.active() == {"a", "b", "c"}


def test_a_registry_that_cannot_be_read_lets_nobody_in(tmp_path: Path, flower: FakeFlower) -> None:
    folder = make_federation(tmp_path, ("a", "b"))
    (folder.sites / "a.json").write_text("{")
    assert [error.code for error in reconcile(folder, print)] == ["REGISTRY-DAMAGED"]
    assert flower.active() == set()


def test_a_site_that_was_registered_just_before_a_crash_is_found_again(tmp_path: Path, flower: FakeFlower) -> None:
    folder = make_federation(tmp_path, ("a", "b"))
    reconcile(folder, print)
    record = folder.path / "superlink" / "nodes.json"
    record.write_text("{" + record.read_text().partition('"b"')[0].partition("{")[2].rstrip().rstrip(",") + "}")
    assert reconcile(folder, print) == ()
    site_registry.revoke(folder, "b")
    reconcile(folder, print)
    assert flower.active() == {"a"}


def test_after_the_database_was_removed_all_sites_are_registered_again(tmp_path: Path, flower: FakeFlower) -> None:
    folder = make_federation(tmp_path, ("a", "b"))
    reconcile(folder, print)
    flower.keys.clear()
    flower.names.clear()
    forget_stale_nodes(folder)
    assert reconcile(folder, print) == ()
    assert flower.active() == {"a", "b"}


def test_a_site_that_was_revoked_before_its_node_was_recorded_is_unregistered(tmp_path: Path, flower: FakeFlower) -> None:
    folder = make_federation(tmp_path, ("a", "b"))
    reconcile(folder, print)
    record = folder.path / "superlink" / "nodes.json"
    record.write_text("{" + record.read_text().partition('"b"')[0].partition("{")[2].rstrip().rstrip(",") + "}")
    site_registry.revoke(folder, "b")
    assert reconcile(folder, print) == ()
    assert flower.active() == {"a", "b"}  # nobody knows whose it is
    unregister_unknown_nodes(folder)
    assert flower.active() == {"a"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', '{"a": {"node": "1"}}'])
def test_a_damaged_list_of_nodes_is_reported(text: str, tmp_path: Path, flower: FakeFlower) -> None:
    folder = make_federation(tmp_path, ("a",))
    (folder.path / "superlink" / "nodes.json").write_text(text)
    with pytest.raises(DeployError, match=r"REGISTRY-DAMAGED.*nodes\.json"):
        forget_stale_nodes(folder)


def test_a_server_that_is_down_is_not_asked_for_every_site(tmp_path: Path, flower: FakeFlower) -> None:
    folder = make_federation(tmp_path, ("a", "b", "c"))
    flower.down = True
    assert [error.code for error in reconcile(folder, print)] == ["SERVER-DOWN"]


def test_an_old_key_that_cannot_be_unregistered_is_not_forgotten(tmp_path: Path, flower: FakeFlower) -> None:
    folder = make_federation(tmp_path, ("a",))
    reconcile(folder, print)
    before = (folder.path / "superlink" / "nodes.json").read_text()
    site_registry.revoke(folder, "a")
    make_key(tmp_path / "new")
    write_request(tmp_path / "new", "a", tmp_path / "a.json")
    site_registry.enrol(folder, read_request(tmp_path / "a.json"))
    flower.stuck = True
    assert [error.code for error in reconcile(folder, print)] == ["FLOWER-SAYS-NO"]
    assert (folder.path / "superlink" / "nodes.json").read_text() == before
