"""Writer of synthetic patients as NIfTI: a BIDS data set, or a task of the Medical Segmentation Decathlon (MSD)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medfl.data.synthetic.brain import CLASSES, Head

_DERIVATIVE = Path("derivatives") / "manual"
_TASK = "Brain tissue (made up)"


def write_bids(folder: Path, head: Head, number: int) -> None:
    """Write one patient: ``sub-XX/anat/sub-XX_T1w.nii.gz`` and its labels in ``derivatives/manual``.

    References
    ----------
    BIDS 1.9, "Magnetic Resonance Imaging data" and "Imaging derivatives: segmentations".
    """
    subject = f"sub-{number:02d}"
    raw, manual = folder / subject / "anat", folder / _DERIVATIVE / subject / "anat"
    raw.mkdir(parents=True)
    manual.mkdir(parents=True)
    _save(raw / f"{subject}_T1w.nii.gz", head.image.astype(np.int16), head.affine)
    sidecar = {"Modality": "MR", "Manufacturer": "medfl", "ManufacturersModelName": "synthetic", "SkullStripped": False}
    _write_json(raw / f"{subject}_T1w.json", sidecar)
    _save(manual / f"{subject}_dseg.nii.gz", head.label, head.affine)


def write_bids_metadata(folder: Path, count: int) -> None:
    """Write the metadata of a BIDS data set whose patients are already written."""
    names = {"Name": _TASK, "BIDSVersion": "1.9.0", "License": "See NOTICE."}
    _write_json(folder / "dataset_description.json", {**names, "DatasetType": "raw"})
    derivative = {"DatasetType": "derivative", "GeneratedBy": [{"Name": "medfl"}]}
    _write_json(folder / _DERIVATIVE / "dataset_description.json", {**names, **derivative})
    rows = [f"sub-{n:02d}\t{25 + 7 * n % 60}\t{'FM'[n % 2]}" for n in range(1, count + 1)]
    _write_lines(folder / "participants.tsv", ["participant_id\tage\tsex", *rows])
    values = [f"{value}\t{name}" for value, name in enumerate(CLASSES)]
    _write_lines(folder / _DERIVATIVE / "dseg.tsv", ["index\tname", *values])


def write_msd(folder: Path, head: Head, number: int) -> None:
    """Write one patient: ``imagesTr/brain_XXX.nii.gz`` and ``labelsTr/brain_XXX.nii.gz``."""
    for part, array in (("imagesTr", head.image.astype(np.float32)), ("labelsTr", head.label)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        _save(folder / part / f"brain_{number:03d}.nii.gz", array, head.affine)


def write_msd_metadata(folder: Path, count: int) -> None:
    """Write the ``dataset.json`` of a task whose patients are already written.

    References
    ----------
    Antonelli et al., The Medical Segmentation Decathlon, Nature Communications 13, 2022.
    """
    names = [f"brain_{n:03d}.nii.gz" for n in range(1, count + 1)]
    description = {
        "name": _TASK,
        "description": "Grey and white matter",
        "licence": "See NOTICE.",
        "tensorImageSize": "3D",
        "modality": {"0": "MRI"},
        "labels": {str(value): name for value, name in enumerate(CLASSES)},
        "numTraining": count,
        "numTest": 0,
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
        "test": [],
    }
    _write_json(folder / "dataset.json", description)


def _save(path: Path, array: NDArray[np.generic], affine: NDArray[np.float64]) -> None:
    import nibabel

    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    nibabel.save(image, path)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
