"""A hospital whose cases are made one by one, and checks of what is reported when its data is prepared."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from medfl.data.findings import Finding
from medfl.data.store.prepare import prepare_cases
from medfl.data.store.prepared_data import PreparedData
from medfl.data.synthetic.brain import Head
from medfl.data.synthetic.dicom_writing import write_dicom
from medfl.errors import MedflError
from medfl.site import Policy, Resources, Site, SiteData, ensure_secret
from medfl.study import Study, study_from_run_config

SHAPE = (12, 10, 10)  # X, Y, Z
STEP = 2.5  # mm between slices
SECRETS = ("Doe", "Jane", "ZQXCAN", "19600101", "1.2.826", "/data", ".nii", ".dcm", ".png")


def study_of(kind: str, modality: str = "CT", dimension: int = 3, **more: Any) -> Study:
    """Return a study whose images become tiny."""
    values: dict[str, Any] = {
        "name": "rough",
        "rounds": 1,
        "task.kind": kind,
        "task.dimension": dimension,
        "task.modality": modality,
        "task.classes": "background,liver,lesion" if kind == "segmentation" else "well,ill",
        "network.name": "unet" if kind == "segmentation" else "cnn",
        "loss.name": "dice-ce" if kind == "segmentation" else "cross-entropy",
    }
    if kind == "classification":
        values["preprocessing.size"] = ",".join(["8"] * dimension)
    return study_from_run_config(values | more)


@dataclass
class Hospital:
    """A data folder with an index of its own."""

    folder: Path
    rows: list[dict[str, str]] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def place(self, name: str) -> Path:
        """Return a folder for one patient, whose name must never appear in a message."""
        folder = self.data / f"Doe_Jane_{name}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def row(self, image: Path, label: str | Path, patient: str = "", **more: str) -> None:
        """Write a row of the index."""
        label_name = str(label.relative_to(self.data)) if isinstance(label, Path) else label
        name = str(image.relative_to(self.data))
        self.rows.append({"image": name, "label": label_name, "patient": patient or f"Doe {len(self.rows)}"} | more)

    def series(
        self,
        name: str,
        change: Callable[[int, Dataset], object] = lambda k, ds: None,
        *,
        places: Sequence[float] = tuple(k * STEP for k in range(SHAPE[2])),
        tilt: float = 0.0,
        listed: bool = True,
    ) -> Path:
        """Write a CT series, one slice a place (mm), and list it."""
        folder, uids = self.place(name), [generate_uid() for _ in range(3)]
        for k, place in enumerate(places):
            ds = _slice(uids, place, place * np.tan(np.radians(tilt)), name)
            change(k, ds)
            ds.save_as(folder / f"{k}.dcm", enforce_file_format=True)
        if listed:
            self.row(folder, "well")
        return folder

    def nifti(self, name: str, image: np.ndarray, label: np.ndarray | None = None, **how: Any) -> Path:
        """Write an image with its mask, and list both."""
        folder = self.place(name)
        path = save(folder / "image.nii.gz", image, **how)
        self.row(path, "well" if label is None else save(folder / "label.nii.gz", label))
        return folder

    def brain(self, number: int) -> Path:
        """Write a patient with an MR series and a DICOM-SEG, as a PACS would have them."""
        label = np.zeros((24, 20, 8), np.uint8)
        label[4:12, 4:12, 1:7], label[12:18, 8:14, 2:6] = 1, 2
        image = np.random.default_rng(number).integers(50, 200, label.shape).astype(np.uint16) + label * np.uint16(200)
        write_dicom(self.data, Head(image, label, np.diag([1.0, 1.0, 2.0, 1.0])), 5, number)
        return self.data / f"SYN{number:04d}"

    def site(self, *, policy: dict[str, Any] | None = None, store: str = "store", **data: Any) -> Site:
        """Return the hospital's terms; the index is written from the rows so far."""
        self.data.mkdir(parents=True, exist_ok=True)
        if self.rows:
            columns = dict.fromkeys(key for row in self.rows for key in row)
            with (self.data / "index.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(self.rows)
        ensure_secret(self.folder / "site.secret")
        return Site(
            name="north",
            folder=self.data,
            secret_file=str(self.folder / "site.secret"),
            data=SiteData(**data),
            policy=Policy(**{"min_count": 0, "min_cases": 1, "max_excluded": 1.0} | (policy or {})),
            resources=Resources(store=str(self.folder / store)),
        )

    def prepared(self, study: Study, **data: Any) -> PreparedData:
        """Prepare everything, whatever the policy says."""
        return prepare_cases(self.site(**data), study)


def _slice(uids: Sequence[str], place: float, drift: float, name: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid()
    ds = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = uids
    ds.PatientID, ds.PatientName, ds.PatientBirthDate = f"Doe-{name}", "Doe^Jane", "19600101"
    ds.Modality, ds.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.ImagePositionPatient = [0.0, round(drift, 6), place]
    ds.ImageOrientationPatient, ds.PixelSpacing, ds.SliceThickness = [1, 0, 0, 0, 1, 0], [1.5, 1.25], 9
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = SHAPE[1], SHAPE[0], 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleSlope, ds.RescaleIntercept = "1", "-1024"
    pixels = np.random.default_rng(int(place * 10)).integers(0, 3000, SHAPE[1::-1])
    ds.PixelData = pixels.astype("<u2").tobytes()
    return ds


def save(path: Path, array: np.ndarray, *, sform: Any = None, qform: Any = None, codes: tuple[int, int] = (1, 1)) -> Path:
    """Write a NIfTI file; both forms are the identity unless given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array, np.eye(4))
    image.set_sform(np.eye(4) if sform is None else sform, codes[0])
    image.set_qform(np.eye(4) if qform is None else qform, codes[1])
    nibabel.save(image, path)
    return path


def image_of(number: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Return random values that no two images share."""
    return np.random.default_rng(number).normal(-100, 300, shape).astype(np.float32)


def mask_of(shape: tuple[int, ...] = SHAPE, classes: int = 2) -> np.ndarray:
    """Return a mask with a block of each class."""
    mask = np.zeros(shape, np.uint8)
    for value in range(1, classes + 1):
        mask[4 * value - 3 : 4 * value, 4:9, 2:6] = value
    return mask


def check_problem(problem: Finding | MedflError, code: str, words: Sequence[str], folder: Path | None = None) -> None:
    """Check that a message has its code, the expected words and a remedy, and nothing about the patient."""
    text = f"{problem.what} {problem.fix}"
    assert problem.code == code, text
    for pattern in words:
        assert re.search(pattern, text), f"{pattern!r} is not in: {text}"
    assert problem.what.endswith((".", ")."))
    assert problem.fix.endswith(".")
    for secret in (*SECRETS, *([str(folder)] if folder else [])):
        assert secret not in str(problem), text
