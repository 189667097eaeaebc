"""The limit of a container counts, not the memory of the machine around it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from medfl.system import memory


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the root of the control groups of a machine with 1000 bytes of memory, of which 700 are free."""
    figures = SimpleNamespace(total=1000, available=700)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: figures)
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(memory, "_OWN_CGROUPS", tmp_path / "own")
    return tmp_path / "groups"


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{content}\n")


def test_without_a_limit_it_is_the_machine(machine: Path) -> None:
    assert (memory.available_memory(), memory.total_memory()) == (700, 1000)
    machine.parent.joinpath("own").write_text("0::/user\n")
    write(machine / "user", memory_max="max", memory_current=5)
    assert (memory.available_memory(), memory.total_memory()) == (700, 1000)


def test_limit_of_a_container_leaves_less(machine: Path) -> None:
    machine.parent.joinpath("own").write_text("0::/\n")
    write(machine, memory_max=400, memory_current=150, memory_stat="anon 100\ninactive_file 30")
    assert memory.total_memory() == 400
    assert memory.available_memory() == 400 - 150 + 30  # what is only a copy of files on the disk can be given up


def test_limit_of_a_group_around_counts(machine: Path) -> None:
    machine.parent.joinpath("own").write_text("0::/slice/job\n")
    write(machine / "slice" / "job", memory_max="max", memory_current=10)
    write(machine / "slice", memory_max=300, memory_current=310)
    assert (memory.available_memory(), memory.total_memory()) == (0, 300)


def test_limit_of_the_first_version_of_control_groups(machine: Path) -> None:
    machine.parent.joinpath("own").write_text("5:cpu:/docker/1\n4:memory:/docker/1\n0::/\n")
    group = machine / "memory" / "docker" / "1"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text("500")
    (group / "memory.usage_in_bytes").write_text("200")
    assert (memory.available_memory(), memory.total_memory()) == (300, 500)


def test_lack_of_memory_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**62, dtype=torch.uint8)
    assert memory.is_out_of_memory(caught.value)
    assert memory.is_out_of_memory(MemoryError())
    assert not memory.is_out_of_memory(RuntimeError("another reason"))
    assert not memory.is_out_of_memory(ValueError("cannot allocate memory"))
