"""Reading with dcm2niix: the real program where it is installed, and a fake one for everything that it may print."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from medfl.data.dicom import dcm2niix
from medfl.data.dicom.dcm2niix import read_with_dcm2niix
from medfl.data.dicom.series import read_series
from medfl.data.volume import corner_distance
from medfl.errors import DataError

real = pytest.mark.skipif(
    not (shutil.which("dcm2niix") or Path(sys.executable).with_name("dcm2niix").exists()), reason="dcm2niix is not installed"
)
FAKE_PROGRAM = """#!{python}
import pathlib, shutil, sys, time
arguments = sys.argv[1:]
out, series = pathlib.Path(arguments[arguments.index("-o") + 1]), pathlib.Path(arguments[-1])
pathlib.Path({log!r}).write_text(" ".join(arguments) + " " + " ".join(sorted(p.name for p in series.iterdir())))
{act}
def make(name, kind="3-d"):
    shutil.copy(pathlib.Path({bin!r}, kind + ".nii"), out / name)
print("Found", {found}, "DICOM file(s)")
print({prints!r})
{make}
"""


@pytest.fixture
def fake_dcm2niix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a factory of fake dcm2niix programs that print given lines and log how they were called."""

    def make(prints: str = "", make: str = "make('out.nii')", found: int = 2, act: str = "") -> Path:
        folder, log = tmp_path / "bin", tmp_path / "called"
        folder.mkdir()
        for kind, shape in {"3-d": (3, 4, 5), "4-d": (3, 4, 5, 6)}.items():
            nibabel.save(nibabel.Nifti1Image(np.zeros(shape, "i2"), np.eye(4)), folder / f"{kind}.nii")
        paths = {"python": f"{sys.executable} -IS", "log": str(log), "bin": str(folder)}
        text = FAKE_PROGRAM.format(**paths, prints=prints, make=make, found=found, act=act)
        (folder / "dcm2niix").write_text(text)
        (folder / "dcm2niix").chmod(0o700)
        monkeypatch.setenv("PATH", str(folder))
        return log

    return make


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Return two files whose folder and names identify a patient."""
    folder = tmp_path / "CANARY^NAME"
    folder.mkdir()
    paths = [folder / f"CANARY-{k}.dcm" for k in range(2)]
    for path in paths:
        path.write_bytes(b"")
    return paths


def refused(files: list[Path]) -> DataError:
    with pytest.raises(DataError) as caught:
        read_with_dcm2niix(files)
    assert "CANARY" not in str(caught.value)
    return caught.value


@real
def test_the_volume_is_that_of_the_usual_reader(tmp_path: Path, write_series: Any) -> None:
    paths = write_series(tmp_path / "series", count=12)
    usual, converted = read_series(paths), read_with_dcm2niix(paths)
    assert [warning.code for warning in converted.warnings] == ["DCM-CONVERTED"]
    to_index = np.linalg.inv(converted.affine) @ usual.affine  # dcm2niix flips the rows
    index = np.stack([*np.meshgrid(*map(np.arange, usual.shape), indexing="ij"), np.ones(usual.shape)], axis=-1)
    converted_index = np.round(index @ to_index.T).astype(int)[..., :3]
    np.testing.assert_allclose(converted.array[0][tuple(np.moveaxis(converted_index, -1, 0))], usual.array[0], atol=0.01)
    rounded = np.round(to_index)
    assert corner_distance(converted.affine @ rounded, usual.affine, usual.shape) < 0.01


@real
def test_series_with_warnings_of_dcm2niix_are_refused(tmp_path: Path, write_series: Any) -> None:
    gap = write_series(tmp_path / "gap", count=12)
    assert "images are missing" in refused([path for k, path in enumerate(gap) if k not in (4, 5)]).what
    tilted = write_series(tmp_path / "tilted", count=12, tilt=12.0)
    assert "tilted" in refused(tilted).what


@real
def test_several_volumes_are_refused(tmp_path: Path, write_series: Any) -> None:
    def echoes(k: int, ds: Any) -> None:
        ds.Modality, ds.EchoTime, ds.EchoNumbers = "MR", 10.0 + 10 * (k % 2), 1 + k % 2

    assert refused(write_series(tmp_path / "series", echoes, count=12)).code == "DCM-MULTIVOLUME"


def test_neither_arguments_nor_file_names_identify_the_patient(fake_dcm2niix: Any, files: list[Path]) -> None:
    log = fake_dcm2niix()
    assert read_with_dcm2niix(files).shape == (3, 4, 5)
    called = log.read_text()
    assert "CANARY" not in called
    assert called.endswith("000000.dcm 000001.dcm")
    assert "-b n" in called
    assert not Path(called.split()[-3]).exists()  # the private folder


@pytest.mark.parametrize(
    ("prints", "message"),
    [
        ("Warning: Interslice distance varies in this volume (incompatible with NIfTI format).", "is not uniform"),
        ("Warning: Missing images? Expected 10 images, but instance number (0020,0013) ranges from 1 to 12", "are missing"),
        ("Warning: DICOM images may be missing, expected 3 spatial locations per volume, but found 2.", "are missing"),
        ("Warning: Note these images have gantry tilt of -12 degrees (manufacturer ID = 0)", "tilted"),
        ("Warning: Instance Number (0020,0013) order is not spatial.", "do not follow their positions"),
        ("Bogus spatial matrix (perhaps non-spatial image): inspect spatial orientation.", "no position in space"),
        ("Warning: Intensity slope/intercept varies between slices! [check resulting images]", "grey values"),
        ("Warning: Check that 2D images are not mirrored.", "left and right"),
    ],
)
def test_every_warning_about_the_volume_is_an_error(fake_dcm2niix: Any, files: list[Path], prints: str, message: str) -> None:
    fake_dcm2niix(prints)
    error = refused(files)
    assert error.code == "DCM-CONVERTER"
    assert message in error.what
    assert "0020" not in error.what  # the text is medfl's own


def test_warnings_that_do_not_concern_the_volume_are_ignored(fake_dcm2niix: Any, files: list[Path]) -> None:
    fake_dcm2niix(
        "Warning: Empty protocol name(s) (0018,1030)\nWarning: Patient Position (0018,5100) not specified (issue 642)."
    )
    assert read_with_dcm2niix(files).shape == (3, 4, 5)


@pytest.mark.parametrize(
    ("behaviour", "code", "what"),
    [
        ({"make": ""}, "DCM-CONVERTER", "could not convert"),
        ({"found": 1}, "DCM-CONVERTER", "1 of 2 images"),
        ({"make": "make('out.nii'); make('outa.nii')"}, "DCM-MULTIVOLUME", "2 volumes"),
        ({"make": "make('out.nii', '4-d')"}, "DCM-MULTIVOLUME", "several volumes"),
    ],
)
def test_anything_but_one_complete_volume_is_refused(
    fake_dcm2niix: Any, files: list[Path], behaviour: dict[str, Any], code: str, what: str
) -> None:
    fake_dcm2niix(**behaviour)
    error = refused(files)
    assert (error.code, what in error.what) == (code, True)


def test_a_hanging_program_is_killed_with_its_children(
    fake_dcm2niix: Any, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = f"import subprocess\nchild = subprocess.Popen(['{shutil.which('sleep')}', '60'])\n"
    fake_dcm2niix(act=f"{child}pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))\ntime.sleep(60)")
    monkeypatch.setattr(dcm2niix, "TIMEOUT_SECONDS", 1.0)
    start = time.monotonic()
    assert "more than 1 seconds" in refused(files).what
    assert time.monotonic() - start < 10
    pid = int((tmp_path / "pid").read_text())
    for _ in range(50):
        if _has_ended(pid):
            return
        time.sleep(0.1)
    raise AssertionError("the program that dcm2niix started is still running")


def _has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]  # a zombie, whose exit status nobody has read
    except (ProcessLookupError, FileNotFoundError):
        return True


def test_a_missing_program_is_an_error_that_says_how_to_install_it(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert "pip install dcm2niix" in refused(files).fix


def test_the_private_folder_is_private(fake_dcm2niix: Any, files: list[Path], tmp_path: Path) -> None:
    mode = tmp_path / "mode"
    fake_dcm2niix(act=f"pathlib.Path({str(mode)!r}).write_text(oct(out.parent.stat().st_mode))")
    read_with_dcm2niix(files)
    assert stat.S_IMODE(int(mode.read_text(), 8)) == 0o700
