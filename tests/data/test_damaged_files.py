"""A file is told to be damaged for what it holds, and not for a lack of memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from medfl.data import damaged_files
from medfl.data.damaged_files import find_damaged_files
from medfl.site import SiteData


@pytest.mark.parametrize(("name", "code"), [("a.nii", "NII-FORMAT"), ("a.png", "IMG-FORMAT"), ("a.dcm", "DCM-READ")])
def test_each_kind_of_file_is_opened_alone(tmp_path: Path, name: str, code: str) -> None:
    (tmp_path / name).write_bytes(b"no image" * 100)
    assert find_damaged_files([tmp_path / name, tmp_path / "gone"], SiteData()) == [(tmp_path / name, code)]


def test_a_folder_that_is_closed_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").mkdir()
    (tmp_path / "b.nii").write_bytes(b"no image" * 100)
    real = os.stat

    def refuse(path: Any, **options: Any) -> os.stat_result:
        if "locked" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, **options)

    monkeypatch.setattr(os, "stat", refuse)
    found = find_damaged_files([tmp_path / "locked" / "a.nii", tmp_path / "b.nii"], SiteData())
    assert [code for _, code in found] == ["IMG-READ", "NII-FORMAT"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("DOE^JANE"), "FILE-DAMAGED"),
        (OSError(5, "Input/output error"), "IMG-READ"),
        (MemoryError(), ""),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), ""),
    ],
)
def test_a_lack_of_memory_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str) -> None:
    def fail(path: Path, settings: SiteData) -> None:
        raise error

    (tmp_path / "a.nii").write_bytes(b"0")
    for reader in ("read_nifti_values", "_read_dicom"):
        monkeypatch.setattr(damaged_files, reader, fail)
    expected = [(tmp_path / "a.nii", code)] if code else []
    assert find_damaged_files([tmp_path / "a.nii"], SiteData()) == expected
