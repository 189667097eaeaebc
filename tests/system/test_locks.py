"""A lock is held by one process at a time, and released with its file."""

from __future__ import annotations

import threading
from pathlib import Path

from medfl.system.locks import locked, take_lock


def test_a_lock_that_is_held_is_not_given_again_until_its_file_is_closed(tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("a") as other:
        with (tmp_path / ".lock").open("a") as file:
            assert take_lock(file)
            assert not take_lock(other)
            assert not take_lock(other, shared=True)
        assert take_lock(other)


def test_those_who_only_look_share_a_lock(tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("a") as first, (tmp_path / ".lock").open("a") as second:
        assert take_lock(first, shared=True)
        assert take_lock(second.fileno(), shared=True)


def test_a_second_holder_waits_for_the_first(tmp_path: Path) -> None:
    order: list[str] = []

    def follow() -> None:
        with locked(tmp_path / ".lock"):
            order.append("second")

    with locked(tmp_path / ".lock"):
        thread = threading.Thread(target=follow)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
