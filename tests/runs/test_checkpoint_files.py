"""Checkpoints keep bits and order, damage is noticed, and a crash leaves the old or the new one."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medfl.errors import RunError
from medfl.runs import checkpoint_files
from medfl.system.files import temporary_path, write_temporary


def arrays(value: float = 1.0) -> dict[str, np.ndarray]:
    return {
        "z.weight": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3) * value),
        "a.bias": np.array([value, 2.0], dtype=np.float16),
        "m.count": np.array(7, dtype=np.int64),
        "b.mask": np.array([True, False]),
        "empty": np.zeros((0, 3), dtype=np.float32),
    }


def test_tensors_come_back_with_order_shape_type_and_bits(tmp_path: Path) -> None:
    checkpoint_files.save(tmp_path / "checkpoints", "federated-round-0001", arrays(), {"round": 1, "score": float("nan")})
    loaded = checkpoint_files.load(tmp_path / "checkpoints", "federated-round-0001")
    assert list(loaded.arrays) == ["z.weight", "a.bias", "m.count", "b.mask", "empty"]
    for name, array in arrays().items():
        assert loaded.arrays[name].dtype == array.dtype
        assert loaded.arrays[name].shape == array.shape
        np.testing.assert_array_equal(loaded.arrays[name], array)
    assert loaded.meta == {"round": 1, "score": None}


def test_big_endian_tensors_keep_their_values(tmp_path: Path) -> None:
    checkpoint_files.save(tmp_path, "best", {"w": np.array([1.5, -2.0], dtype=">f4")}, {})
    np.testing.assert_array_equal(checkpoint_files.load(tmp_path, "best").arrays["w"], np.array([1.5, -2.0], dtype=np.float32))


def test_a_second_save_replaces_the_first_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    checkpoint_files.save(tmp_path, "best", arrays(1.0), {"round": 1})
    checkpoint_files.save(tmp_path, "best", arrays(5.0), {"round": 2})
    assert checkpoint_files.load(tmp_path, "best").meta == {"round": 2}
    assert checkpoint_files.load(tmp_path, "best").arrays["a.bias"][0] == 5.0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.json", "best.safetensors"]


def test_one_changed_byte_is_noticed(tmp_path: Path) -> None:
    file = checkpoint_files.save(tmp_path, "best", arrays(), {})
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(RunError) as caught:
        checkpoint_files.load(tmp_path, "best")
    assert caught.value.code == "CHECKPOINT-DAMAGED"


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}"])
def test_missing_or_broken_metadata_is_noticed(tmp_path: Path, text: str | None) -> None:
    checkpoint_files.save(tmp_path, "best", arrays(), {})
    (tmp_path / "best.json").unlink()
    if text is not None:
        (tmp_path / "best.json").write_text(text)
    with pytest.raises(RunError) as caught:
        checkpoint_files.load(tmp_path, "best")
    assert caught.value.code == "CHECKPOINT-DAMAGED"


def test_a_missing_checkpoint_has_its_own_code(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        checkpoint_files.load(tmp_path, "best")
    assert caught.value.code == "CHECKPOINT-MISSING"


@pytest.mark.parametrize("crash_at", [0, 1])
def test_a_crash_at_either_rename_leaves_a_whole_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash_at: int) -> None:
    checkpoint_files.save(tmp_path, "best", arrays(1.0), {"round": 1})
    commit, calls = checkpoint_files.commit, []

    def crash(path: Path) -> None:
        if len(calls) == crash_at:
            raise KeyboardInterrupt
        calls.append(path)
        commit(path)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_files, "commit", crash)
        with pytest.raises(KeyboardInterrupt):
            checkpoint_files.save(tmp_path, "best", arrays(5.0), {"round": 2})
    loaded = checkpoint_files.load(tmp_path, "best")
    assert (loaded.meta["round"], loaded.arrays["a.bias"][0]) == ((1, 1.0) if crash_at == 0 else (2, 5.0))


@pytest.mark.parametrize("second", [0, 1, "full"])
def test_a_second_interruption_after_a_crash_leaves_a_whole_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: int | str
) -> None:
    def crash_at(call: int) -> Callable[[Path], None]:
        calls: list[Path] = []

        def crash(path: Path) -> None:
            if len(calls) == call:
                raise KeyboardInterrupt
            calls.append(path)
            commit(path)

        return crash

    def full(path: Path, content: bytes) -> None:
        if path.suffix == ".safetensors":  # they still fit, their JSON does not
            return write_temporary(path, content)
        temporary_path(path).unlink(missing_ok=True)  # as `write_temporary` does
        raise OSError(errno.ENOSPC, "No space left on device")

    commit = checkpoint_files.commit
    checkpoint_files.save(tmp_path, "best", arrays(1.0), {"round": 1})
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_files, "commit", crash_at(1))  # the tensors are new, their JSON still has its temporary name
        with pytest.raises(KeyboardInterrupt):
            checkpoint_files.save(tmp_path, "best", arrays(2.0), {"round": 2})
    with monkeypatch.context() as patch:
        if second == "full":
            patch.setattr(checkpoint_files, "write_temporary", full)
        else:
            # the first commit finishes the interrupted save
            patch.setattr(checkpoint_files, "commit", crash_at(1 + int(second)))
        with pytest.raises((KeyboardInterrupt, RunError)):
            checkpoint_files.save(tmp_path, "best", arrays(3.0), {"round": 3})
    loaded = checkpoint_files.load(tmp_path, "best")
    assert loaded.arrays["a.bias"][0] == loaded.meta["round"] == (3 if second == 1 else 2)


def test_a_full_disk_keeps_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint_files.save(tmp_path, "best", arrays(1.0), {"round": 1})

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RunError) as caught:
            checkpoint_files.save(tmp_path, "best", arrays(5.0), {"round": 2})
    assert caught.value.code == "DISK-FULL"
    assert checkpoint_files.load(tmp_path, "best").meta == {"round": 1}
    assert not temporary_path(tmp_path / "best.safetensors").exists()


def test_prune_keeps_only_the_named_checkpoints(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        checkpoint_files.save(tmp_path, f"federated-round-{number:04}", arrays(), {})
    temporary_path(tmp_path / "federated-round-0004.safetensors").write_bytes(b"half")
    checkpoint_files.prune(tmp_path, ["federated-round-0002", "federated-round-0003"])
    assert checkpoint_files.list_names(tmp_path) == ["federated-round-0002", "federated-round-0003"]
    assert len(list(tmp_path.iterdir())) == 4


def test_remove_deletes_one_and_ignores_a_missing_one(tmp_path: Path) -> None:
    checkpoint_files.save(tmp_path, "a", arrays(), {})
    checkpoint_files.save(tmp_path, "b", arrays(), {})
    checkpoint_files.remove(tmp_path, "a")
    checkpoint_files.remove(tmp_path, "a")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.json", "b.safetensors"]


def test_a_checkpoint_unpacks_into_tensors_and_metadata(tmp_path: Path) -> None:
    checkpoint_files.save(tmp_path, "a", {"w": np.ones(2)}, {"round": 4})
    tensors, meta = checkpoint_files.load(tmp_path, "a")
    assert (list(tensors), meta) == (["w"], {"round": 4})
