"""Reading a series by way of dcm2niix, for research MR that the standard way refuses; whatever it doubts is an error."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medfl.data.findings import Finding
from medfl.data.nifti import read_nifti
from medfl.data.volume import Volume
from medfl.errors import DataError

TIMEOUT_SECONDS = 600.0  # a series of thousands of slices takes one or two minutes
_WARNING_MEANINGS = (  # words of dcm2niix's warnings, small, and what they mean for a volume; it converts all the same
    ("interslice distance varies", "the distance between slices is not uniform"),
    ("missing images", "images are missing"),
    ("may be missing", "images are missing"),
    ("missing dicoms", "images are missing"),
    ("missing packets", "images are missing"),
    ("gantry tilt", "the gantry was tilted"),
    ("tilt correction", "the gantry was tilted"),
    ("not spatial", "the numbers of the slices do not follow their positions"),
    ("non-spatial", "the images do not say where in space they lie"),
    ("bogus spatial", "the images do not say where in space they lie"),
    ("determine spatial orientation", "the images do not say where in space they lie"),
    ("spatial orientation)", "the images do not say where in space they lie"),
    ("orientation varies", "the slices point in different directions"),
    ("not mirrored", "a single slice does not say which side is which"),
    ("positions repeated", "several slices lie at the same place"),
    ("position repeat", "several slices lie at the same place"),
    ("varies between slices", "the scale of the grey values changes between slices"),
    ("dimensions or bit depth varies", "the slices differ in size"),
)
_EXPORT_AGAIN = "Export the original series from the PACS, or leave it out."


def read_with_dcm2niix(paths: Sequence[Path]) -> Volume:
    """Read the files of one series as dcm2niix understands them.

    dcm2niix sees neutral names only, works in a private folder that is removed at once, and what it says is not passed on.

    Parameters
    ----------
    paths : sequence of Path
        The files of the series.

    Returns
    -------
    Volume
        Array (1, X, Y, Z), with a warning ``DCM-CONVERTED``.

    Raises
    ------
    DataError
        ``DCM-CONVERTER`` when dcm2niix is missing, fails, takes too long, leaves images out or gives a warning that
        concerns geometry or grey values; ``DCM-MULTIVOLUME`` when the series is not one volume; ``NII-*``.
    """
    program = _find_program()
    with tempfile.TemporaryDirectory(prefix="medfl-") as private:
        series, out = Path(private, "in"), Path(private, "out")
        series.mkdir()
        out.mkdir()
        for number, path in enumerate(paths):
            _link_file(path, series / f"{number:06d}.dcm")
        told = _run([program, "-f", "out", "-b", "n", "-z", "n", "-o", str(out), str(series)])
        _check_output(told, len(paths))
        volume = _read_only_volume(sorted(out.glob("*.nii")))
    converted = Finding.warning(
        "DCM-CONVERTED", "the series was read by way of dcm2niix.", "Look at the images before you use them."
    )
    return replace(volume, warnings=(*volume.warnings, converted))


def _find_program() -> str:
    beside = Path(sys.executable).with_name("dcm2niix")
    found = shutil.which("dcm2niix") or shutil.which(str(beside))
    if found is None:
        raise DataError("DCM-CONVERTER", "dcm2niix is not installed.", "Install it: pip install dcm2niix.")
    return found


def _link_file(path: Path, name: Path) -> None:
    """Make a file known under a neutral name."""
    try:
        name.symlink_to(path.resolve())
    except OSError:  # a file system without links
        shutil.copyfile(path, name)


def _run(command: list[str]) -> str:
    """Return what dcm2niix says, in small letters."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # what PyPI installs is a script that starts the program: both must end
    )
    try:
        said, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        raise DataError("DCM-CONVERTER", f"dcm2niix needed more than {TIMEOUT_SECONDS:.0f} seconds.", _EXPORT_AGAIN) from None
    finally:
        if process.poll() is None:
            _kill(process)
    return said.decode(errors="replace").lower()


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _check_output(told: str, images: int) -> None:
    doubts = dict.fromkeys(meaning for words, meaning in _WARNING_MEANINGS if words in told)
    if doubts:
        raise DataError("DCM-CONVERTER", f"dcm2niix warns about the series: {'; '.join(doubts)}.", _EXPORT_AGAIN)
    found = re.search(r"found (\d+) dicom", told)
    if not found or int(found[1]) != images:
        seen = found[1] if found else "none"
        raise DataError("DCM-CONVERTER", f"dcm2niix could read {seen} of {images} images.", _EXPORT_AGAIN)


def _read_only_volume(files: list[Path]) -> Volume:
    if not files:
        raise DataError("DCM-CONVERTER", "dcm2niix could not convert the series.", _EXPORT_AGAIN)
    if len(files) > 1:
        raise _multivolume_error(f"dcm2niix made {len(files)} volumes of the series.")
    try:
        return read_nifti(files[0], form="sform")  # the sform holds the DICOM positions; the qform only comes near them
    except DataError as error:
        if error.code == "NII-4D":
            raise _multivolume_error("the series holds several volumes, for example time points or b-values.") from None
        raise


def _multivolume_error(what: str) -> DataError:
    return DataError("DCM-MULTIVOLUME", what, "Export the one that is meant as a series of its own.")
