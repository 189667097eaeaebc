"""A file is told to be damaged for what it holds, and not for a lack of memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfl.data import damaged_files
from medfl.data.damaged_files import find_damaged_files
from medfl.site import SiteData


@pytest.mark.parametrize(("name", "code"), [("a.nii", "NII-FORMAT"), ("a.png", "IMG-FORMAT"), ("a.dcm", "DCM-READ")])
def test_each_kind_of_file_is_opened_alone(tmp_path: Path, name: str, code: str) -> None:
    (tmp_path / name).write_bytes(b"no image" * 100)
    assert find_damaged_files([tmp_path / name, tmp_path / "gone"], SiteData()) == [(tmp_path / name, code)]


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
