"""Replies on disk: as they came, by the names of the sites, and nothing left of them."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import stat
from pathlib import Path

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


def test_a_reply_comes_back_as_it_was_and_can_not_be_changed() -> None:
    replies = {site: reply_of(k) for k, site in enumerate(("north", "east", "west"))}
    with DiskReplies(MODEL) as spool:
        for weight, (site, arrays) in enumerate(replies.items(), 1):
            spool.add(site, dict(reversed(arrays.items())), weight)
            assert bits(spool.reply(site)) == bits(arrays)
        assert spool.sites == ("east", "north", "west")
        assert spool.weights == {"east": 2.0, "north": 1.0, "west": 3.0}
        held = spool.reply("north")
        assert bits(spool.reply("west")) == bits(replies["west"])
        assert bits(held) == bits(replies["north"])  # pages that were dropped come back
        with pytest.raises(ValueError, match="read-only"):
            held["conv"][0, 0] = 1
    assert bits(held) == bits(replies["north"])  # who still holds a reply may read it


@pytest.mark.parametrize("block", [1, 4, 15, 100, None])
def test_columns_are_all_replies_side_by_side(block: int | None) -> None:
    replies = {site: reply_of(k) for k, site in enumerate("cab")}
    with DiskReplies(MODEL) as spool:
        for site, arrays in replies.items():
            spool.add(site, arrays, 1)
        found = {name: np.full((3, x.size), np.nan, x.dtype) for name, x in MODEL.items() if x.dtype.kind == "f"}
        for name, start, values in spool.columns(block):
            assert values.dtype == MODEL[name].dtype
            found[name][:, start : start + values.shape[1]] = values
            values[:] = 0  # a block may be overwritten
    for name, values in found.items():
        np.testing.assert_array_equal(values, [replies[site][name].reshape(-1) for site in "abc"])


def test_columns_do_not_depend_on_the_order_of_arrival() -> None:
    replies = {site: reply_of(k) for k, site in enumerate("abc")}
    seen = set()
    for order in itertools.permutations(replies):
        with DiskReplies(MODEL) as spool:
            for site in order:
                spool.add(site, replies[site], 1)
            seen.add(b"".join(values.tobytes() for _, _, values in spool.columns(4)))
    assert len(seen) == 1


def test_narrower_and_scattered_tensors_are_kept_in_the_models_type() -> None:
    came = np.array([[1, 2, 3], [4, 5, 6]], np.float16)
    with DiskReplies({"w": np.zeros((3, 2), np.float32)}) as spool:
        spool.add("a", {"w": came.T}, 1)
        kept = spool.reply("a")["w"]
    assert kept.dtype == np.float32
    assert kept.tolist() == [[1, 4], [2, 5], [3, 6]]


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
    with DiskReplies({"w": np.zeros(2, np.float32)}) as spool:
        spool.add("a", {"w": np.array([3, 4], np.float32)}, 5)
        bad = values if isinstance(values, np.ndarray) else np.array(values, np.float32)
        with pytest.raises(ExchangeError) as caught:
            spool.add(site, {"w": bad}, weight)
        assert caught.value.code == code
        assert spool.weights == {"a": 5.0}
        assert [values.tolist() for _, _, values in spool.columns()] == [[[3.0, 4.0]]]


def test_a_model_that_can_not_be_averaged_is_refused() -> None:
    with pytest.raises(ExchangeError, match="MODEL-TYPE"):
        DiskReplies({"c": np.zeros(2, np.complex64)})


def test_a_full_disk_is_told_and_the_earlier_replies_stay() -> None:
    reply = {"w": np.arange(5000, dtype=np.float32)}
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    with DiskReplies(reply) as spool:
        spool.add("a", reply, 1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, old[1]))
        try:
            with pytest.raises(RunError, match=r"\[DISK-FULL\] the disk is full: .* TMPDIR"):
                spool.add("b", reply, 1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
        assert spool.sites == ("a",)
        spool.add("b", reply, 1)  # once there is room
        for site in "ab":
            np.testing.assert_array_equal(spool.reply(site)["w"], reply["w"])


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="RUN-FOLDER") as caught:
        DiskReplies(MODEL, tmp_path / "gone")
    assert str(tmp_path) not in str(caught.value)


def test_the_file_has_no_name_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    with DiskReplies(MODEL, tmp_path) as spool:
        spool.add("a", reply_of(1), 1)
        assert list(tmp_path.iterdir()) == []
        assert stat.S_IMODE(os.fstat(spool._file.fileno()).st_mode) == 0o600


def test_a_disk_that_takes_less_than_it_was_given_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    reply = {"w": np.arange(1000, dtype=np.float32)}
    with DiskReplies(reply) as spool:
        slow = _Slow(spool._file)
        monkeypatch.setattr(spool, "_file", slow)
        spool.add("a", reply, 1)
        np.testing.assert_array_equal(spool.reply("a")["w"], reply["w"])
        slow.full = True
        with pytest.raises(RunError, match="DISK-FULL"):
            spool.add("b", reply, 1)
        assert spool.sites == ("a",)


class _Slow:
    """A file that takes 700 bytes at a time, and nothing once it is full."""

    def __init__(self, file: object) -> None:
        self._file, self.full = file, False

    def write(self, data: memoryview) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device", "/secret/folder")
        return self._file.write(data[:700])

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


def test_a_model_from_parts_has_the_largest_counters_of_those_that_count() -> None:
    with DiskReplies({"w": np.zeros(2, np.float32), "n": np.array([0, 0], np.int16), "on": np.array(False)}) as spool:
        for site, n, on in (("a", [1, 9], False), ("b", [5, 2], True), ("c", [70, 70], True)):
            spool.add(site, {"w": np.zeros(2, np.float32), "n": np.array(n, np.int16), "on": np.array(on)}, 1)
        made = spool.build_model([("w", 0, np.array([1.5])), ("w", 1, np.array([2.5]))], ["a", "b"])
        assert {name: (x.dtype.name, x.tolist()) for name, x in made.items()} == {
            "w": ("float32", [1.5, 2.5]),
            "n": ("int16", [5, 9]),
            "on": ("bool", True),
        }
        assert spool.build_model([("w", 0, np.zeros(2))])["n"].tolist() == [70, 70]


def test_without_replies_there_is_no_model() -> None:
    with DiskReplies(MODEL) as spool:
        assert spool.sites == ()
        assert list(spool.columns()) == []
        with pytest.raises(ExchangeError, match="WEIGHT-ZERO"):
            spool.build_model([])
