"""Replies on disk: read back as they came, in the order of the sites' names, and gone afterwards."""

from __future__ import annotations

import errno
import io
import itertools
import os
import resource
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.aggregate import DiskReplies
from medfl.errors import ExchangeError, RunError

RNG = np.random.default_rng(0)
MODEL = {
    "conv": np.zeros((3, 5), np.float32),
    "tracked": np.array(0),
    "scale": np.array(1.0, np.float64),
    "empty": np.zeros((0, 4), np.float32),
    "mask": np.zeros(3, np.bool_),
    "half": np.zeros(7, np.float16),
}


def reply_of(k: int) -> dict[str, np.ndarray]:
    noise = {name: RNG.standard_normal(x.shape).astype(x.dtype) for name, x in MODEL.items() if x.dtype.kind == "f"}
    return {**MODEL, **noise, "tracked": np.array(k), "mask": np.arange(3) == k}


def bits(model: dict[str, np.ndarray]) -> list[tuple[str, tuple[int, ...], str, bytes]]:
    return [(name, x.shape, str(x.dtype), x.tobytes()) for name, x in model.items()]


def test_a_reply_comes_back_as_it_was_and_cannot_be_changed() -> None:
    models = {site: reply_of(k) for k, site in enumerate(("north", "east", "west"))}
    with DiskReplies(MODEL) as replies:
        for weight, (site, arrays) in enumerate(models.items(), 1):
            replies.add(site, dict(reversed(arrays.items())), weight)
            assert bits(replies.reply(site)) == bits(arrays)
        assert replies.sites == ("east", "north", "west")
        assert replies.weights == {"east": 2.0, "north": 1.0, "west": 3.0}
        held = replies.reply("north")
        assert bits(replies.reply("west")) == bits(models["west"])
        assert bits(held) == bits(models["north"])  # pages that were dropped come back
        with pytest.raises(ValueError, match="read-only"):
            held["conv"][0, 0] = 1
    assert bits(held) == bits(models["north"])  # a reply that is still held can be read


@pytest.mark.parametrize("block", [1, 4, 15, 100, None])
def test_columns_are_all_replies_side_by_side(block: int | None) -> None:
    models = {site: reply_of(k) for k, site in enumerate("cab")}
    with DiskReplies(MODEL) as replies:
        for site, arrays in models.items():
            replies.add(site, arrays, 1)
        found = {name: np.full((3, x.size), np.nan, x.dtype) for name, x in MODEL.items() if x.dtype.kind == "f"}
        for name, start, values in replies.columns(block):
            assert values.dtype == MODEL[name].dtype
            found[name][:, start : start + values.shape[1]] = values
            values[:] = 0  # a block may be overwritten
    for name, values in found.items():
        np.testing.assert_array_equal(values, [models[site][name].reshape(-1) for site in "abc"])


def test_columns_do_not_depend_on_the_order_of_arrival() -> None:
    models = {site: reply_of(k) for k, site in enumerate("abc")}
    seen = set()
    for order in itertools.permutations(models):
        with DiskReplies(MODEL) as replies:
            for site in order:
                replies.add(site, models[site], 1)
            seen.add(b"".join(values.tobytes() for _, _, values in replies.columns(4)))
    assert len(seen) == 1


def test_narrower_and_scattered_tensors_are_kept_in_the_models_type() -> None:
    scattered = np.array([[1, 2, 3], [4, 5, 6]], np.float16)
    with DiskReplies({"w": np.zeros((3, 2), np.float32)}) as replies:
        replies.add("a", {"w": scattered.T}, 1)
        stored = replies.reply("a")["w"]
    assert stored.dtype == np.float32
    assert stored.tolist() == [[1, 4], [2, 5], [3, 6]]


@pytest.mark.parametrize(
    ("site", "values", "weight", "code"),
    [
        ("b", [1.0, np.nan], 1, "UPDATE-NONFINITE"),
        ("b", [1.0, -np.inf], 1, "UPDATE-NONFINITE"),
        ("b", [1.0], 1, "MODEL-MISMATCH"),
        ("b", np.zeros(2), 1, "MODEL-MISMATCH"),
        ("b", [1.0, 1.0], 0, "WEIGHT-RANGE"),
        ("b", [1.0, 1.0], float("nan"), "WEIGHT-RANGE"),
        ("a", [1.0, 1.0], 1, "REPLY-TWICE"),
    ],
)
def test_a_refused_reply_leaves_no_trace(site: str, values: list[float], weight: float, code: str) -> None:
    with DiskReplies({"w": np.zeros(2, np.float32)}) as replies:
        replies.add("a", {"w": np.array([3, 4], np.float32)}, 5)
        bad = values if isinstance(values, np.ndarray) else np.array(values, np.float32)
        with pytest.raises(ExchangeError) as caught:
            replies.add(site, {"w": bad}, weight)
        assert caught.value.code == code
        assert replies.weights == {"a": 5.0}
        assert [values.tolist() for _, _, values in replies.columns()] == [[[3.0, 4.0]]]


def test_a_model_that_cannot_be_averaged_is_refused() -> None:
    with pytest.raises(ExchangeError, match="MODEL-TYPE"):
        DiskReplies({"c": np.zeros(2, np.complex64)})


def test_a_full_disk_is_reported_and_the_earlier_replies_stay() -> None:
    reply = {"w": np.arange(5000, dtype=np.float32)}
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    with DiskReplies(reply) as replies:
        replies.add("a", reply, 1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, old[1]))
        try:
            with pytest.raises(RunError, match=r"\[DISK-FULL\] the disk is full: .* TMPDIR"):
                replies.add("b", reply, 1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
        assert replies.sites == ("a",)
        replies.add("b", reply, 1)  # once there is space on the disk
        for site in "ab":
            np.testing.assert_array_equal(replies.reply(site)["w"], reply["w"])


def test_a_folder_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="RUN-FOLDER") as caught:
        DiskReplies(MODEL, tmp_path / "gone")
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="open files are listed in /proc")
def test_the_file_has_no_name_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    with DiskReplies(MODEL, tmp_path) as replies:
        replies.add("a", reply_of(1), 1)
        assert list(tmp_path.iterdir()) == []
        links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        (opened,) = (link for link in links if os.readlink(link).startswith(str(tmp_path)))
        assert stat.S_IMODE(opened.stat().st_mode) == 0o600


def test_a_disk_that_takes_a_few_bytes_at_a_time_gets_the_rest_again(monkeypatch: pytest.MonkeyPatch) -> None:
    reply = {"w": np.arange(1000, dtype=np.float32)}
    disk = _SlowDisk(monkeypatch)
    with DiskReplies(reply) as replies:
        replies.add("a", reply, 1)
        np.testing.assert_array_equal(replies.reply("a")["w"], reply["w"])
        disk.full = True
        with pytest.raises(RunError, match="DISK-FULL"):
            replies.add("b", reply, 1)
        assert replies.sites == ("a",)


class _SlowDisk:
    """A disk for temporary files that takes 700 bytes at a time, and nothing once it is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        disk, make_file = self, tempfile.TemporaryFile

        class SlowFile(io.FileIO):
            def write(self, data: Any) -> int:
                if disk.full:
                    raise OSError(errno.ENOSPC, "No space left on device", "/secret/folder")
                return super().write(memoryview(data)[:700])

        def make_slow_file(**options: Any) -> SlowFile:
            with make_file(**options) as file:
                return SlowFile(os.dup(file.fileno()), "w+b")

        monkeypatch.setattr(tempfile, "TemporaryFile", make_slow_file)


def test_a_model_from_parts_has_the_largest_counters_of_those_that_count() -> None:
    with DiskReplies({"w": np.zeros(2, np.float32), "n": np.array([0, 0], np.int16), "on": np.array(False)}) as replies:
        for site, n, on in (("a", [1, 9], False), ("b", [5, 2], True), ("c", [70, 70], True)):
            replies.add(site, {"w": np.zeros(2, np.float32), "n": np.array(n, np.int16), "on": np.array(on)}, 1)
        made = replies.build_model([("w", 0, np.array([1.5])), ("w", 1, np.array([2.5]))], ["a", "b"])
        assert {name: (x.dtype.name, x.tolist()) for name, x in made.items()} == {
            "w": ("float32", [1.5, 2.5]),
            "n": ("int16", [5, 9]),
            "on": ("bool", True),
        }
        assert replies.build_model([("w", 0, np.zeros(2))])["n"].tolist() == [70, 70]


def test_without_replies_there_is_no_model() -> None:
    with DiskReplies(MODEL) as replies:
        assert replies.sites == ()
        assert list(replies.columns()) == []
        with pytest.raises(ExchangeError, match="WEIGHT-ZERO"):
            replies.build_model([])
