"""Full disks: each ends in a code and a remedy, and leaves nothing half-written."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.data.store import cache_folder as cache_folder_module
from medfl.data.store.prepare import prepare
from medfl.errors import DataError, DiskFullError, RunError
from medfl.runs import checkpoint_files
from medfl.runs.history import read_history
from medfl.simulation.simulated_run import plan_simulation
from medfl.study import Study
from medfl.system.files import temporary_path
from tests.bad_input.damage import bits, check_words, fill, leftovers, site_of


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("files", [0, 1, 7])
def test_after_a_full_disk_the_next_start_is_as_if_it_had_not_been_full(
    number: int, files: int, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fill(tmp_path / "north", 4)
    clean = bits(prepare(site_of(folder, "clean"), study))
    write, written = cache_folder_module._write_array, Counter[str]()

    def filling(path: Path, array: np.ndarray) -> Any:
        if written.total() >= files:
            path.write_bytes(array.tobytes()[: array.nbytes // 2])
            raise OSError(number, os.strerror(number), str(path))
        written[path.name] += 1
        return write(path, array)

    with monkeypatch.context() as patch:
        patch.setattr(cache_folder_module, "_write_array", filling)
        with pytest.raises(DiskFullError) as caught:
            prepare(site_of(folder), study)
    assert caught.value.code == "DISK-FULL"
    check_words(caught.value, tmp_path)
    assert leftovers(tmp_path / "store") == []
    prepared = prepare(site_of(folder), study)
    assert prepared.findings == ()
    assert bits(prepared) == clean


def test_an_error_of_the_system_on_writing_is_reported_as_a_full_disk(study: Study, tmp_path: Path) -> None:
    folder = fill(tmp_path / "north", 4)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, old[1]))
    try:
        with pytest.raises(DiskFullError) as caught:
            prepare(site_of(folder), study)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert "perhaps for a quota" in caught.value.what
    check_words(caught.value, tmp_path)
    assert leftovers(tmp_path / "store") == []
    assert bits(prepare(site_of(folder), study)) == bits(prepare(site_of(folder, "clean"), study))


def final(run: Path) -> dict[str, bytes]:
    return {name: np.asarray(array).tobytes() for name, array in checkpoint_files.load(run, "final").arrays.items()}


@pytest.mark.slow
def test_a_run_on_a_full_disk_reports_it_and_leaves_no_trace_in_the_next_one(study_folder: Path, tmp_path: Path) -> None:
    shape = (32, 32, 24)  # 96 KiB an image, more than a process may write below
    hospitals = fill(tmp_path / "hospitals" / "north", 4, shape=shape).parent

    def start(name: str, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "medfl", "simulate", str(study_folder), "--data", str(hospitals), "--workers", "1"]
        command += ["--out", str(tmp_path / name)]
        return subprocess.run(command, capture_output=True, text=True, timeout=900, **options)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))

    failed = start("failed", preexec_fn=limit)
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    assert "[DISK-FULL]" in failed.stderr
    assert "[TOO-FEW-SITES]" in failed.stderr
    (run,) = (tmp_path / "failed" / "rough").iterdir()
    assert [e["reason"].split()[0] for e in read_history(run) if e["event"] == "failed"] == ["[DISK-FULL]"]
    assert read_history(run)[-1]["status"] == "failed"
    assert leftovers(tmp_path / "store") == leftovers(run) == []
    runs = []
    for name, store in (("again", tmp_path / "store"), ("clean", tmp_path / "clean-store")):
        done = start(name, env=os.environ | {"MEDFL_STORE": str(store)})
        assert done.returncode == 0, done.stderr
        runs += (tmp_path / name / "rough").iterdir()
    assert final(runs[0]) == final(runs[1])


@pytest.mark.slow
def test_no_space_for_a_checkpoint_ends_the_run_with_a_code_and_no_partial_checkpoint(
    study_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        temporary_path(path).write_bytes(content[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    hospitals = fill(tmp_path / "hospitals" / "north", 4).parent
    simulation = plan_simulation(study_folder, [hospitals], tmp_path / "runs")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_files, "write_temporary", full)
        with pytest.raises(RunError) as caught:
            simulation.start(workers=1)
    assert caught.value.code == "DISK-FULL"
    check_words(caught.value, tmp_path)
    assert read_history(simulation.run)[-1]["status"] == "failed"
    assert read_history(simulation.run)[-1]["reason"].startswith("[DISK-FULL]")
    assert checkpoint_files.list_names(simulation.run / "checkpoints") == []


def test_a_store_that_is_a_file_is_reported(study: Study, tmp_path: Path) -> None:
    folder = fill(tmp_path / "north", 4)
    (tmp_path / "store").write_text("")
    with pytest.raises(DataError) as caught:
        prepare(site_of(folder), study)
    assert caught.value.code == "STORE-UNWRITABLE"
    check_words(caught.value, tmp_path)
