"""Reader of a series with dcm2niix, for research MR that medfl itself refuses; warnings about the volume are errors."""

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
from medfl.site import SiteData

TIMEOUT_SECONDS = 600.0  # a series of thousands of slices takes one or two minutes
_SFORM = SiteData(nifti_form="sform")  # it has the DICOM positions, the qform only approximates them
_WARNING_MEANINGS = (  # words of dcm2niix's warnings, in lower case, and their meaning; it converts the series all the same
    ("interslice distance varies", "the slice spacing is not uniform"),
    ("missing images", "images are missing"),
    ("may be missing", "images are missing"),
    ("missing dicoms", "images are missing"),
    ("missing packets", "images are missing"),
    ("gantry tilt", "the gantry was tilted"),
    ("tilt correction", "the gantry was tilted"),
    ("not spatial", "the numbers of the slices do not follow their positions"),
    ("non-spatial", "the images have no position in space"),
    ("bogus spatial", "the images have no position in space"),
    ("determine spatial orientation", "the images have no position in space"),
    ("spatial orientation)", "the images have no position in space"),
    ("orientation varies", "the slices point in different directions"),
    ("not mirrored", "left and right of a single slice are unknown"),
    ("positions repeated", "several slices have the same position"),
    ("position repeat", "several slices have the same position"),
    ("varies between slices", "the rescaling of grey values changes between slices"),
    ("dimensions or bit depth varies", "the slices differ in size"),
)
_EXPORT_AGAIN = "Export the original series from the PACS, or leave it out."


def read_with_dcm2niix(paths: Sequence[Path]) -> Volume:
    """Read the files of one series with dcm2niix.

    dcm2niix gets neutral file names, works in a private folder that is removed afterwards, and its output is not passed on.

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
        ``DCM-CONVERTER`` when dcm2niix is missing, fails, takes too long, omits images or gives a warning that
        concerns geometry or grey values; ``DCM-MULTIVOLUME`` when the series is not one volume; ``NII-*``.
    """
    program = _find_program()
    with tempfile.TemporaryDirectory(prefix="medfl-") as private:
        series, out = Path(private, "in"), Path(private, "out")
        series.mkdir()
        out.mkdir()
        for number, path in enumerate(paths):
            _link_file(path, series / f"{number:06d}.dcm")
        output = _run([program, "-f", "out", "-b", "n", "-z", "n", "-o", str(out), str(series)])
        _check_output(output, len(paths))
        volume = _read_only_volume(sorted(out.glob("*.nii")))
    warning = Finding.warning(
        "DCM-CONVERTED", "the series was converted by dcm2niix.", "Look at the images before you use them."
    )
    return replace(volume, warnings=(*volume.warnings, warning))


def _find_program() -> str:
    installed_with_python = Path(sys.executable).with_name("dcm2niix")
    program = shutil.which("dcm2niix") or shutil.which(str(installed_with_python))
    if program is None:
        raise DataError("DCM-CONVERTER", "dcm2niix is not installed.", "Install it: pip install dcm2niix.")
    return program


def _link_file(path: Path, name: Path) -> None:
    """Link a file under a neutral name."""
    try:
        name.symlink_to(path.resolve())
    except OSError:  # a file system without links
        shutil.copyfile(path, name)


def _run(command: list[str]) -> str:
    """Return the output of dcm2niix, in lower case."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # PyPI installs a script that starts the program: both must end
    )
    try:
        output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        raise DataError("DCM-CONVERTER", f"dcm2niix needed more than {TIMEOUT_SECONDS:.0f} seconds.", _EXPORT_AGAIN) from None
    finally:
        if process.poll() is None:
            _kill(process)
    return output.decode(errors="replace").lower()


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _check_output(output: str, images: int) -> None:
    warnings = dict.fromkeys(meaning for words, meaning in _WARNING_MEANINGS if words in output)
    if warnings:
        raise DataError("DCM-CONVERTER", f"dcm2niix warns about the series: {'; '.join(warnings)}.", _EXPORT_AGAIN)
    match = re.search(r"found (\d+) dicom", output)
    if not match or int(match[1]) != images:
        readable = match[1] if match else "none"
        raise DataError("DCM-CONVERTER", f"dcm2niix could read {readable} of {images} images.", _EXPORT_AGAIN)


def _read_only_volume(files: list[Path]) -> Volume:
    if not files:
        raise DataError("DCM-CONVERTER", "dcm2niix could not convert the series.", _EXPORT_AGAIN)
    if len(files) > 1:
        raise _multivolume_error(f"dcm2niix made {len(files)} volumes from the series.")
    try:
        return read_nifti(files[0], settings=_SFORM)
    except DataError as error:
        if error.code == "NII-4D":
            raise _multivolume_error("the series contains several volumes, for example time points or b-values.") from None
        raise


def _multivolume_error(what: str) -> DataError:
    return DataError("DCM-MULTIVOLUME", what, "Export the intended volume as a series of its own.")
