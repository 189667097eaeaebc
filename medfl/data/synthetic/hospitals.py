"""Synthetic hospitals: a federation to try medfl on before any real data are available."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from medfl.data.synthetic.brain import NOTICE, Scanner, make_head, read_template
from medfl.data.synthetic.dicom_writing import write_dicom
from medfl.data.synthetic.nifti_writing import write_bids, write_bids_metadata, write_msd, write_msd_metadata
from medfl.data.synthetic.radiographs import write_images
from medfl.errors import MedflError
from medfl.system.files import translate_disk_errors, write_file

Progress = Callable[[int, int], None]

MARKER = "synthetic.json"
_VERSION = 1  # of the synthetic data; a folder of another version is made again
_DATA = "data"  # site.toml and the secret are next to this folder, not in it

# Each hospital has its own weighting, so that grey matter lies elsewhere between fluid and white matter, and one exports whole
# heads where the others export extracted brains. A model trained at one hospital fails at the others.
_SCANNERS = {
    "hospital-a": Scanner("LPS", (2.5, 2.5, 4.0), fluid=0.1, grey=0.28, white=0.95, tilt=8.0, scale=800.0),
    "hospital-b": Scanner("RAS", (3.0, 3.0, 3.0), fluid=0.25, grey=0.6, white=0.95, scalp=0.8, scale=1000.0),
    "hospital-c": Scanner("LIA", (2.8, 2.8, 3.5), fluid=0.15, grey=0.78, white=0.95, scale=300.0),
}
_LAYOUTS = {"hospital-a": "dicom", "hospital-b": "bids", "hospital-c": "msd"}


def make_brain_hospitals(
    out: Path,
    *,
    patients: tuple[int, int, int] = (10, 9, 8),
    seed: int = 0,
    coarser: float = 1.0,
    progress: Progress | None = None,
) -> Path:
    """Make three hospitals with brain images and masks of grey and white matter.

    ``hospital-a`` has a DICOM series and a DICOM SEG per patient, ``hospital-b`` a BIDS data set, ``hospital-c`` a task in
    the format of the Medical Segmentation Decathlon. Contrast, resolution and orientation differ. Each folder holds a
    ``site.toml``, and the licence notice of the template that the anatomy comes from.

    Parameters
    ----------
    out : Path
        Folder for the hospitals: new, empty, or made by this function before. A complete one made with the same values is
        kept; an interrupted one, or one made with other values, is made again.
    patients : tuple of int
        Number of patients of each hospital.
    seed : int
        The same number gives the same files, byte for byte.
    coarser : float
        Factor on all voxel sizes; above 1 gives smaller images, for tests.
    progress : callable, optional
        Called with the numbers of patients done and in total.

    Returns
    -------
    Path
        `out`; the hospitals are its folders with a ``site.toml``.

    Raises
    ------
    MedflError
        ``SYNTH-NILEARN`` without nilearn, ``SYNTH-FOLDER`` when `out` holds files that medfl did not make.
    """
    if len(patients) != len(_SCANNERS) or min(patients) < 1:
        raise MedflError("SYNTH-PATIENTS", "there are three hospitals, and each needs at least one patient.")
    made_with = {"kind": "brain", "version": _VERSION, "patients": list(patients), "seed": seed, "coarser": coarser}
    if _is_complete(out, made_with):
        return out
    template = read_template()
    _clear_folder(out, made_with, tuple(_SCANNERS))
    done, total = 0, sum(patients)
    for index, (name, scanner) in enumerate(_SCANNERS.items()):
        data = _make_hospital_folder(out / name, seed, _LAYOUTS[name])
        coarse_scanner = _coarsen(scanner, coarser)
        for number in range(1, patients[index] + 1):
            head = make_head(template, coarse_scanner, (seed, index, number))
            if name == "hospital-a":
                write_dicom(data, head, seed, number)
            elif name == "hospital-b":
                write_bids(data, head, number)
            else:
                write_msd(data, head, number)
            done += 1
            if progress:
                progress(done, total)
    write_bids_metadata(out / "hospital-b" / _DATA, patients[1])
    write_msd_metadata(out / "hospital-c" / _DATA, patients[2])
    for folder in (out, *(out / name for name in _SCANNERS)):
        (folder / "NOTICE").write_text(NOTICE, encoding="utf-8")
    _write_marker(out, made_with, tuple(_SCANNERS), complete=True)
    return out


def make_nodule_images(
    out: Path,
    *,
    hospitals: int = 3,
    patients: int = 40,
    size: int = 80,
    seed: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Make hospitals with 2-D images of the classes ``clear`` and ``nodule``, each with a CSV index.

    Only NumPy, SciPy and Pillow are needed. Brightness and contrast differ between hospitals; every fourth patient
    has two images.

    Parameters
    ----------
    out : Path
        Folder to make, as in `make_brain_hospitals`.
    hospitals : int
        Number of hospitals; they are named ``hospital-1`` and so on.
    patients : int
        Number of patients of each hospital; half have a nodule.
    size : int
        Pixels along each side.
    seed : int
        The same number gives the same files, byte for byte.
    progress : callable, optional
        Called with the numbers of hospitals done and in total.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    MedflError
        ``SYNTH-FOLDER`` when `out` holds files that medfl did not make.
    """
    if hospitals < 1 or patients < 1:
        raise MedflError("SYNTH-PATIENTS", "at least one hospital with one patient is needed.")
    made_with = {
        "kind": "nodules",
        "version": _VERSION,
        "hospitals": hospitals,
        "patients": patients,
        "size": size,
        "seed": seed,
    }
    if _is_complete(out, made_with):
        return out
    names = tuple(f"hospital-{k + 1}" for k in range(hospitals))
    _clear_folder(out, made_with, names)
    for k, name in enumerate(names):
        write_images(_make_hospital_folder(out / name, seed, "csv"), k, patients, size, seed)
        if progress:
            progress(k + 1, hospitals)
    _write_marker(out, made_with, names, complete=True)
    return out


def _coarsen(scanner: Scanner, factor: float) -> Scanner:
    x, y, z = scanner.spacing
    return replace(scanner, spacing=(x * factor, y * factor, z * factor))


def _read_marker(out: Path) -> dict[str, Any]:
    try:
        marker = json.loads((out / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return marker if isinstance(marker, dict) else {}


def _is_complete(out: Path, made_with: Mapping[str, object]) -> bool:
    marker = _read_marker(out)
    all_present = all((out / name / "site.toml").is_file() for name in marker.get("hospitals", ()))
    return marker.get("complete") is True and marker.get("made-with") == made_with and all_present


def _clear_folder(out: Path, made_with: Mapping[str, object], names: tuple[str, ...]) -> None:
    """Remove hospitals that medfl made earlier, never anything else, and mark the new ones as begun."""
    old = _read_marker(out)
    if not old and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MedflError(
            "SYNTH-FOLDER",
            "the folder for the synthetic hospitals holds other files, which medfl does not touch.",
            "Choose a new or an empty folder.",
        )
    with translate_disk_errors("the folder of the synthetic hospitals", "give the same command again"):
        out.mkdir(parents=True, exist_ok=True)
    earlier = [name for name in old.get("hospitals", ()) if name.startswith("hospital-") and Path(name).name == name]
    _write_marker(out, made_with, tuple(sorted({*earlier, *names})), complete=False)
    for name in earlier:
        shutil.rmtree(out / name, ignore_errors=True)


def _write_marker(out: Path, made_with: Mapping[str, object], names: tuple[str, ...], *, complete: bool) -> None:
    marker = {"complete": complete, "made-with": made_with, "hospitals": list(names)}
    write_file(out / MARKER, f"{json.dumps(marker, indent=2)}\n".encode())


def _make_hospital_folder(folder: Path, seed: int, layout: str) -> Path:
    """Make the folder of a hospital with its site.toml and its secret, and return the folder for its data."""
    data = folder / _DATA
    data.mkdir(parents=True)
    lines = [
        "# A made-up hospital: its data shows no patient, so nothing is held back.",
        f'name = "{folder.name}"',
        "",
        "[data]",
        f'root = "{_DATA}"',
        f'layout = "{layout}"',
        "",
        "[policy]",
        "min-count = 0",
        'scores = "exact"',
        "min-cases = 1",
        "max-excluded = 1.0",
        "previews = true",
    ]
    (folder / "site.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    # Derived from the seed: there is nobody to protect, and two demos give the same pseudonyms.
    secret = hashlib.sha256(f"medfl synthetic {seed} {folder.name}".encode()).digest()
    write_file(folder / "site.secret", secret, private=True)
    return data
