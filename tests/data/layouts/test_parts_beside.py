"""Looking for missing parts beside the folders that an index names."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medfl.data.layouts.parts_beside import PartsBeside


def count_calls(root: Path, folders: list[Path]) -> int:
    """Return how many calls it takes to look beside folders."""
    index: Any = SimpleNamespace(root=root, walked=lambda: set(folders), tree=lambda folder: [], probe=lambda files: [])
    index.trees = lambda named: {folder: [] for folder in named}
    beside, calls = PartsBeside(index), 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        for folder in folders:
            beside.find(folder)
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("place", ["pat{}/ct", "pat{}", "pat{}/day/ct"])
def test_the_work_grows_with_the_folders_and_not_with_their_square(place: str, tmp_path: Path) -> None:
    folders = [tmp_path / "export" / place.format(n) for n in range(120)]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder.parent / "report.txt").write_bytes(b"")
    assert count_calls(tmp_path, folders) < 2.5 * count_calls(tmp_path, folders[:60])
