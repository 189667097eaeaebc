"""The picture of the rooms in CONTRIBUTING is that of the import contract, and the contract knows every room."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import rooms

MEDFL = Path(rooms.ROOT / "medfl")


def test_the_picture_and_the_table_are_those_of_the_contract() -> None:
    page = rooms.PAGE.read_text(encoding="utf-8")
    assert page == rooms.update_page(page), "run: python -m tools.rooms"


def test_the_contract_knows_every_room() -> None:
    listed = {room for layer in rooms.read_layers() for room in layer}
    packages = {f"medfl.{path.parent.name}" for path in MEDFL.glob("*/__init__.py")}
    modules = {f"medfl.{path.stem}" for path in MEDFL.glob("*.py")} - {"medfl.__init__"}
    assert listed == packages | modules


def test_a_picture_has_the_rooms_of_each_layer_and_an_arrow_down_to_the_next() -> None:
    picture = rooms.draw_picture([["medfl.cli"], ["medfl.study", "medfl.site"]])
    assert 'layer0["cli"]' in picture
    assert 'layer1["study · site"]' in picture
    assert picture.count("-->") == 1


def test_every_room_says_in_one_line_what_is_in_it() -> None:
    rows = rooms.write_table(rooms.read_layers()).splitlines()[2:]
    assert all(row.split("|")[2].strip() for row in rows)


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"CONTRIBUTING\.md lacks the lines"):
        rooms.update_page("# Contributing\n")
