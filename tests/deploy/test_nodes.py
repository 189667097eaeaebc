"""Whether Flower's server knows exactly those who are enrolled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medfl.deploy import nodes, site_registry
from medfl.deploy.federation_folder import FederationFolder
from medfl.deploy.identity import make_key, read_request, write_request
from medfl.deploy.nodes import forget_stale_nodes, reconcile, unregister_unknown_nodes
from medfl.errors import DeployError
from tests.deploy.serving import make_federation


class Flower:
    """Stands in for Flower's server: takes a key once, ever, and tells neither names nor keys."""

    def __init__(self) -> None:
        self.keys: dict[str, str] = {}  # key: number of its node
        self.names: dict[str, str] = {}  # number of the node: name
        self.out: set[str] = set()
        self.down = False
        self.fails_for = ""
        self.stuck = False  # nobody can be put out

    def __call__(self, folder: FederationFolder, *arguments: str) -> dict[str, Any]:
        if self.down:
            raise DeployError("SERVER-DOWN", "the server of this federation is not running.")
        _, action, *rest = arguments
        if action == "list":
            listed = [{"node-id": n, "status": "unregistered" if n in self.out else "online"} for n in self.keys.values()]
            return {"success": True, "nodes": listed}
        if action == "unregister" and self.stuck:
            raise DeployError("FLOWER-SAYS-NO", "Flower refused.")
        if action == "unregister":
            self.out.add(rest[0])
            return {"success": True}
        name, key = rest[rest.index("--name") + 1], Path(rest[0]).read_text()
        if name == self.fails_for:
            raise DeployError("FLOWER-SAYS-NO", "Flower refused.")
        if key in self.keys:
            raise DeployError("FLOWER-SAYS-NO", "Flower refused: Public key already in use.")
        number = str(1000 + len(self.keys))
        self.keys[key], self.names[number] = number, name
        return {"success": True, "node-id": number}

    def inside(self) -> set[str]:
        """Return the names of those who may send requests."""
        return {name for number, name in self.names.items() if number not in self.out}


@pytest.fixture
def flower(monkeypatch: pytest.MonkeyPatch) -> Flower:
    """Put the stand-in in the place of Flower's command."""
    found = Flower()
    monkeypatch.setattr(nodes, "run_flwr", found)
    return found


def test_who_is_enrolled_may_take_part_and_who_is_revoked_may_not(tmp_path: Path, flower: Flower) -> None:
    folder, told = make_federation(tmp_path, ("a", "b", "c")), list[str]()
    assert reconcile(folder, told.append) == ()
    assert flower.inside() == {"a", "b", "c"}
    site_registry.revoke(folder, "b")
    assert reconcile(folder, told.append) == ()
    assert flower.inside() == {"a", "c"}
    assert told == [
        "a may take part.",
        "b may take part.",
        "c may take part.",
        "b is out: its requests are refused from now on.",
    ]


def test_nothing_is_asked_of_flower_while_nothing_changes(tmp_path: Path, flower: Flower) -> None:
    folder = make_federation(tmp_path, ("a",))
    reconcile(folder, print)
    flower.down = True
    assert reconcile(folder, print) == ()


def test_a_site_with_a_new_key_is_in_with_that_one_alone(tmp_path: Path, flower: Flower) -> None:
    folder = make_federation(tmp_path, ("a",))
    reconcile(folder, print)
    site_registry.revoke(folder, "a")
    make_key(tmp_path / "new.key")
    write_request(tmp_path / "new.key", "a", tmp_path / "new.json")
    site_registry.enrol(folder, read_request(tmp_path / "new.json"))
    reconcile(folder, print)
    assert flower.inside() == {"a"}
    assert (len(flower.keys), len(flower.out)) == (2, 1)


def test_the_trouble_of_one_site_does_not_keep_the_others_waiting(tmp_path: Path, flower: Flower) -> None:
    folder = make_federation(tmp_path, ("a", "b", "c"))
    flower.fails_for = "a"
    (wrong,) = reconcile(folder, print)
    assert wrong.code == "FLOWER-SAYS-NO"
    assert flower.inside() == {"b", "c"}
    flower.fails_for = ""
    assert reconcile(folder, print) == ()
    assert flower.inside() == {"a", "b", "c"}


def test_a_list_that_can_not_be_read_lets_nobody_in(tmp_path: Path, flower: Flower) -> None:
    folder = make_federation(tmp_path, ("a", "b"))
    (folder.sites / "a.json").write_text("{")
    assert [error.code for error in reconcile(folder, print)] == ["REGISTRY-DAMAGED"]
    assert flower.inside() == set()


def test_a_site_that_was_registered_just_before_a_crash_is_found_again(tmp_path: Path, flower: Flower) -> None:
    folder = make_federation(tmp_path, ("a", "b"))
    reconcile(folder, print)
    noted = folder.path / "superlink" / "nodes.json"
    noted.write_text("{" + noted.read_text().partition('"b"')[0].partition("{")[2].rstrip().rstrip(",") + "}")
    assert reconcile(folder, print) == ()
    site_registry.revoke(folder, "b")
    reconcile(folder, print)
    assert flower.inside() == {"a"}


def test_a_database_that_was_removed_takes_everybody_again(tmp_path: Path, flower: Flower) -> None:
    folder = make_federation(tmp_path, ("a", "b"))
    reconcile(folder, print)
    flower.keys.clear()
    flower.names.clear()
    forget_stale_nodes(folder)
    assert reconcile(folder, print) == ()
    assert flower.inside() == {"a", "b"}


def test_a_site_that_was_revoked_before_it_was_noted_is_out(tmp_path: Path, flower: Flower) -> None:
    folder = make_federation(tmp_path, ("a", "b"))
    reconcile(folder, print)
    noted = folder.path / "superlink" / "nodes.json"
    noted.write_text("{" + noted.read_text().partition('"b"')[0].partition("{")[2].rstrip().rstrip(",") + "}")
    site_registry.revoke(folder, "b")
    assert reconcile(folder, print) == ()
    assert flower.inside() == {"a", "b"}  # nobody knows whose it is
    unregister_unknown_nodes(folder)
    assert flower.inside() == {"a"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', '{"a": {"node": "1"}}'])
def test_a_damaged_list_of_nodes_is_said_plainly(text: str, tmp_path: Path, flower: Flower) -> None:
    folder = make_federation(tmp_path, ("a",))
    (folder.path / "superlink" / "nodes.json").write_text(text)
    with pytest.raises(DeployError, match=r"REGISTRY-DAMAGED.*nodes\.json"):
        forget_stale_nodes(folder)


def test_who_does_not_answer_is_not_asked_for_every_site(tmp_path: Path, flower: Flower) -> None:
    folder = make_federation(tmp_path, ("a", "b", "c"))
    flower.down = True
    assert [error.code for error in reconcile(folder, print)] == ["SERVER-DOWN"]


def test_an_old_key_that_can_not_be_put_out_is_not_forgotten_for_a_new_one(tmp_path: Path, flower: Flower) -> None:
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
