"""Values that wait for the end of a round come back whole, in memory or on disk."""

from __future__ import annotations

import errno
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.aggregate.leftover_values import LeftoverValues
from medfl.errors import RunError


@pytest.mark.parametrize("count", [3, 100_000])  # the second are more than is kept in memory
def test_records_come_back_in_any_order(count: int) -> None:
    leftovers, values = LeftoverValues(), np.arange(count, dtype=np.float32)
    records = {weight: leftovers.put(weight, np.arange(count), values * np.float32(weight)) for weight in (1.0, 2.0, 3.0)}
    for weight in (2.0, 3.0, 1.0):
        found = leftovers.read(records[weight])
        assert found[0] == weight
        assert found[1].tolist() == list(range(count))
        assert np.array_equal(found[2], values * weight)


def test_a_full_disk_is_said_to_be_full(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(_: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    leftovers = LeftoverValues()
    monkeypatch.setattr(leftovers._file, "write", write)
    with pytest.raises(RunError, match=r"DISK-FULL.*TMPDIR"):
        leftovers.put(1.0, np.array([0]), np.array([0.5]))


class FullDisk(io.FileIO):
    """A file that takes nothing more once its disk is full."""

    full = False

    def write(self, data: Any) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def test_a_disk_that_fills_up_is_noticed_at_once_and_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, failures = FullDisk(tmp_path / "file", "w+"), []
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: io.BufferedRandom(disk))
    monkeypatch.setattr(sys, "unraisablehook", failures.append)
    leftovers = LeftoverValues()
    leftovers.put(1.0, np.arange(100_000), np.arange(100_000.0))
    disk.full = True
    with pytest.raises(RunError, match="DISK-FULL"):
        leftovers.put(1.0, np.array([0]), np.array([0.5]))  # so little that it is not written at once
    del leftovers
    assert disk.closed
    assert failures == []


def test_the_file_has_no_name_and_is_closed_with_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    leftovers = LeftoverValues()
    leftovers.put(1.0, np.arange(100_000), np.arange(100_000.0))
    assert list(tmp_path.iterdir()) == []
    file = leftovers._file
    del leftovers
    assert file.closed
