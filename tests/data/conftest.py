"""Small data made on the spot: studies, sites, NIfTI files and DICOM series whose grey values encode their position."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from medfl.site import Site, SiteData, ensure_secret
from medfl.study import Study, study_from_run_config

StudyMaker = Callable[..., Study]
SiteMaker = Callable[..., Site]
SeriesMaker = Callable[..., list[Path]]


@pytest.fixture
def make_study() -> StudyMaker:
    """Return a maker of studies; keyword ``task__kind`` stands for the key ``task.kind``."""

    def make(**changes: Any) -> Study:
        values = {
            "name": "tiny",
            "rounds": 1,
            "seed": 7,
            "task.kind": "segmentation",
            "task.dimension": 3,
            "task.modality": "MR",
            "task.classes": "background,organ",
        }
        values |= {key.replace("__", "."): value for key, value in changes.items()}
        if values["task.kind"] == "segmentation":
            values |= {"network.name": "unet", "loss.name": "dice-ce"}
        else:
            values |= {"network.name": "cnn", "loss.name": "cross-entropy"}
            values.setdefault("preprocessing.size", ",".join(["16"] * int(values["task.dimension"])))
        return study_from_run_config(values)

    return make


@pytest.fixture
def make_site(tmp_path: Path) -> SiteMaker:
    """Return a maker of sites whose data folder is given; other keywords go into its table ``data``."""

    def make(root: Path, name: str = "north", classes: tuple[str, ...] = (), **data: Any) -> Site:
        secret = tmp_path / "secret"
        ensure_secret(secret)
        return Site(name=name, secret_file=str(secret), data=SiteData(**data), classes=classes, folder=root)

    return make


@pytest.fixture
def save_nifti() -> Callable[..., Path]:
    """Return a writer of NIfTI files with both forms set."""

    def save(path: Path, array: NDArray[Any], affine: NDArray[Any] | None = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        image = nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine)
        image.set_sform(image.affine, 1)
        image.set_qform(image.affine, 1)
        nibabel.save(image, path)
        return path

    return save


def world_value(position: NDArray[Any]) -> NDArray[Any]:
    """Return the grey value of a position in LPS millimetres, from which a test knows where a voxel really is."""
    return np.asarray(200 + 3 * position[..., 0] + 5 * position[..., 1] + 7 * position[..., 2])


def _slice(
    uids: Mapping[str, str],
    k: int,
    place: NDArray[Any],
    orientation: NDArray[Any],
    shape: tuple[int, int],
    pixel: tuple[float, float],
) -> FileDataset:
    rows, columns = shape
    r, c = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    world = place + c[..., None] * pixel[1] * orientation[:3] + r[..., None] * pixel[0] * orientation[3:]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid()
    ds = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = uids["study"], uids["series"], uids["frame"]
    ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex = "CANARY-MRN", "CANARY^NAME", "19600101", "O"
    ds.StudyDate = ds.StudyTime = ds.AccessionNumber = ds.StudyID = ds.ReferringPhysicianName = ""
    ds.Modality, ds.ImageType, ds.Manufacturer = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], "maker"
    ds.InstanceNumber, ds.SeriesNumber = k + 1, 1
    ds.ImagePositionPatient = [float(f"{v:.6f}") for v in place]
    ds.ImageOrientationPatient = [float(f"{v:.9f}") for v in orientation]
    ds.PixelSpacing, ds.SliceThickness = list(pixel), 9
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = rows, columns, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.RescaleSlope, ds.RescaleIntercept = "0.5", "-1024"
    ds.PixelData = np.round((world_value(world) + 1024) / 0.5).astype("<u2").tobytes()
    return ds


@pytest.fixture
def write_series() -> SeriesMaker:
    """Return a writer of CT series: 8 slices of 5 x 7 pixels, 2.5 mm apart, pixels of 1.5 x 1.25 mm, oblique if asked."""

    def write(
        folder: Path,
        change: Callable[[int, Dataset], object] = lambda k, ds: None,
        *,
        count: int = 8,
        angle: float = 0.0,
        tilt: float = 0.0,
    ) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        uids = {name: generate_uid() for name in ("study", "series", "frame")}
        turn = np.radians(angle)
        orientation = np.array([np.cos(turn), np.sin(turn), 0, 0, 0, -1.0])
        normal = np.cross(orientation[:3], orientation[3:])
        step = 2.5 * (normal + np.tan(np.radians(tilt)) * orientation[3:])
        paths = []
        for k in range(count):
            ds = _slice(uids, k, np.array([-10.0, 4.0, 30.0]) + k * step, orientation, (5, 7), (1.5, 1.25))
            change(k, ds)
            paths.append(folder / f"{(k * 5) % 7}-{k}.dcm")  # names in no order
            ds.save_as(paths[-1], enforce_file_format=True)
        return paths

    return write


def _save_seg(path: Path, series: list[Path], segments: dict[str, NDArray[np.bool_]]) -> Path:
    """Write segments, each (X, Y, Z) on the grid that `read_series` gives."""
    datasets = [pydicom.dcmread(p) for p in series]
    volume = highdicom.get_volume_from_series(datasets)
    upwards = [marked.transpose(2, 1, 0)[::-1] for marked in segments.values()]  # highdicom counts slices against the normal
    stacked = np.stack(upwards, axis=-1).astype(np.uint8)
    descriptions = [
        highdicom.seg.SegmentDescription(
            n,
            name,
            codes.SCT.MorphologicallyAbnormalStructure,
            codes.SCT.Lesion,
            highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for n, name in enumerate(segments, 1)
    ]
    geometry = volume.get_geometry()
    highdicom.seg.Segmentation(
        source_images=datasets,
        pixel_array=highdicom.Volume(
            stacked,
            geometry.affine,
            "PATIENT",
            frame_of_reference_uid=geometry.frame_of_reference_uid,
            channels={highdicom.ChannelDescriptor("SegmentNumber"): list(range(1, len(segments) + 1))},
        ),
        segmentation_type="BINARY",
        segment_descriptions=descriptions,
        series_instance_uid=generate_uid(),
        series_number=9,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="maker",
        manufacturer_model_name="model",
        software_versions="1",
        device_serial_number="1",
        omit_empty_frames=True,
    ).save_as(path)
    return path


@pytest.fixture
def save_seg() -> Callable[..., Path]:
    """Return a writer of DICOM-SEG objects: path, files of the series, segments by name."""
    return _save_seg
