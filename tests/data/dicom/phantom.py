"""Phantom whose grey value at each position is known: 200 + 3 L + 5 P + 7 S Hounsfield units, with L, P and S in mm.

Every reader can be checked against these values, so that no reader is the reference. Rows and columns differ in number and in
spacing, so that swapping them does not go unnoticed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

GRADIENT = (3.0, 5.0, 7.0)
SHAPE = (24, 20)  # rows, columns
PIXEL = (1.5, 1.25)  # mm between rows, between columns
DISTANCE = 2.5
ORIGIN = (-12.0, 8.0, 30.0)
SLOPE, INTERCEPT = 0.1, -1024.0
AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
Change = Callable[[int, Dataset], object]
Vector = NDArray[np.float64]


def world_value(position: NDArray[Any]) -> NDArray[np.float64]:
    """Return the grey values at positions in LPS mm, (..., 3)."""
    return np.asarray(200 + position @ np.array(GRADIENT), dtype=np.float64)


def error_of(array: NDArray[Any], to_lps: NDArray[Any], fill: float | None = None) -> NDArray[np.float64]:
    """Return the error of each voxel of (X, Y, Z) at its position by the affine; 0 for voxels of value `fill`."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in array.shape), indexing="ij"), axis=-1)
    errors = np.abs(array - world_value(index @ to_lps[:3, :3].T + to_lps[:3, 3]))
    return np.asarray(errors if fill is None else np.where(array == fill, 0.0, errors))


def stack(
    count: int = 10, axes: tuple[Any, Any] = AXIAL, distance: float = DISTANCE, tilt: float = 0.0, origin: Any = ORIGIN
) -> list[Vector]:
    """Return the positions of slices; a tilt, in degrees, shifts each one along the columns."""
    row, column = (np.asarray(axis, dtype=np.float64) for axis in axes)
    step = distance * (np.cross(row, column) + np.tan(np.radians(tilt)) * column)
    return [np.asarray(origin) + k * step for k in range(count)]


def slice_values(
    position: Vector, axes: tuple[Any, Any] = AXIAL, shape: tuple[int, int] = SHAPE, pixel_spacing: tuple[float, float] = PIXEL
) -> NDArray[np.float64]:
    """Return the grey values of a slice, (rows, columns)."""
    row, column = (np.asarray(axis, dtype=np.float64) for axis in axes)
    rows, columns = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    return world_value(position + columns[..., None] * pixel_spacing[1] * row + rows[..., None] * pixel_spacing[0] * column)


def new_object(sop_class: UID = CTImageStorage) -> FileDataset:
    """Return an object of the phantom without pixels."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = sop_class, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid()
    ds = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex = "CANARY-MRN", "CANARY^NAME", "19600101", "O"
    ds.StudyDate = ds.StudyTime = ds.AccessionNumber = ds.StudyID = ds.ReferringPhysicianName = ""
    ds.Modality, ds.ImageType, ds.Manufacturer, ds.SeriesNumber = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], "maker", 1
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    return ds


def decimals(values: Iterable[float]) -> list[float]:
    """Return numbers that fit into DICOM's decimal strings."""
    return [float(f"{value:.9f}"[:16]) for value in values]


def encode_pixels(values: NDArray[Any], slope: float = SLOPE, intercept: float = INTERCEPT) -> bytes:
    """Return grey values as stored values of 16 bits."""
    return np.round((values - intercept) / slope).astype("<i4").astype("<u2").tobytes()


def write_slices(
    folder: Path,
    positions: list[Vector] | None = None,
    change: Change = lambda k, ds: None,
    *,
    axes: tuple[Any, Any] = AXIAL,
    shape: tuple[int, int] = SHAPE,
    series: str = "",
) -> list[Path]:
    """Write a CT series, one file per slice; `change` is called with the index and the dataset of each."""
    folder.mkdir(parents=True, exist_ok=True)
    series = series or generate_uid()
    paths = []
    for k, position in enumerate(stack(axes=axes) if positions is None else positions):
        ds = new_object()
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.3", series, "1.2.5"
        ds.InstanceNumber = k + 1
        ds.ImagePositionPatient, ds.PixelSpacing, ds.SliceThickness = decimals(position), list(PIXEL), 9
        ds.ImageOrientationPatient = decimals([*axes[0], *axes[1]])
        ds.Rows, ds.Columns = shape
        ds.RescaleSlope, ds.RescaleIntercept = str(SLOPE), str(INTERCEPT)
        ds.PixelData = encode_pixels(slice_values(position, axes, shape))
        change(k, ds)
        paths.append(folder / f"{(k * 7) % 11:02d}-{len(list(folder.iterdir())):03d}.dcm")  # unordered names
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths


def _group(name: str, **values: Any) -> tuple[str, list[Dataset]]:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return name, [item]


def write_enhanced(
    path: Path,
    positions: list[Vector],
    *,
    sop_class: UID = EnhancedCTImageStorage,
    groups: Callable[[int], dict[str, dict[str, Any]]] = lambda k: {},
    series: str = "1.2.3.4",
) -> Path:
    """Write frames as one enhanced object, with slopes that differ by frame; `groups` adds functional groups to frame k."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ds = new_object(sop_class)
    ds.Modality = "MR" if "MR" in sop_class.name else "CT"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.3", series, "1.2.5"
    ds.Rows, ds.Columns = SHAPE
    ds.NumberOfFrames, ds.InstanceNumber = len(positions), 1
    shared = Dataset()
    fixed = {
        "PlaneOrientationSequence": {"ImageOrientationPatient": decimals([*AXIAL[0], *AXIAL[1]])},
        "PixelMeasuresSequence": {"PixelSpacing": list(PIXEL), "SliceThickness": 9, "SpacingBetweenSlices": 8},
    }
    for name, values in fixed.items():
        setattr(shared, *_group(name, **values))
    ds.SharedFunctionalGroupsSequence = [shared]
    frames, pixels = [], b""
    for k, position in enumerate(positions):
        frame, slope = Dataset(), SLOPE * (1 + k % 2)
        frame_groups = {
            "PlanePositionSequence": {"ImagePositionPatient": decimals(position)},
            "PixelValueTransformationSequence": {"RescaleSlope": slope, "RescaleIntercept": INTERCEPT, "RescaleType": "HU"},
        }
        for name, values in (frame_groups | groups(k)).items():
            setattr(frame, *_group(name, **values))
        frames.append(frame)
        pixels += encode_pixels(slice_values(position), slope)
    ds.PerFrameFunctionalGroupsSequence, ds.PixelData = frames, pixels
    ds.save_as(path, enforce_file_format=True)
    return path
