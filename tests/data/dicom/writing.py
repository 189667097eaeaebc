"""Writers of difficult series of the phantom: changes of single slices, and whole folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import (
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    MRImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from tests.data.dicom.phantom import (
    AXIAL,
    SLOPE,
    Change,
    Vector,
    decimals,
    encode_pixels,
    slice_values,
    stack,
    write_enhanced,
    write_slices,
)

SAGITTAL = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0))
CORONAL = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
Make = Callable[[Path], object]


def oblique() -> tuple[Vector, Vector]:
    """Return the directions of rows and columns, rotated about two axes."""
    a, b = np.radians(20), np.radians(-35)
    about_s = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_l = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    rotation = about_s @ about_l
    return rotation[:, 0], rotation[:, 1]


def series(change: Change = lambda k, ds: None, positions: list[Vector] | None = None, **options: Any) -> Make:
    """Return a writer of a series."""
    return lambda folder: write_slices(folder, positions, change, **options)


def put(index: int | None = None, **values: Any) -> Change:
    """Return a change that sets attributes of one slice, or of all; None deletes an attribute."""

    def change(k: int, ds: Dataset) -> None:
        for keyword, value in values.items() if index in (None, k) else ():
            if value is not None:
                setattr(ds, keyword, value)
            elif keyword in ds:
                delattr(ds, keyword)

    return change


def both(*changes: Change) -> Change:
    return lambda k, ds: [change(k, ds) for change in changes]


def each(keyword: str, value: Callable[[int], Any]) -> Change:
    return lambda k, ds: setattr(ds, keyword, value(k))


def repeated(volumes: int, count: int = 10, interleaved: bool = False) -> list[Vector]:
    positions = stack(count)
    return [position for position in positions for _ in range(volumes)] if interleaved else positions * volumes


def uneven(tilt: float = 0.0) -> list[Vector]:
    """Return the positions of slices 2.5 mm, then 5 mm apart."""
    all_positions = stack(16, tilt=tilt)
    return [*all_positions[:6], *all_positions[7::2]]


# --- changes of one slice ---


def identical_copy(folder: Path) -> None:
    paths = write_slices(folder)
    shutil.copy(paths[3], folder / "again.dcm")


def slope_by_slice(k: int, ds: Dataset) -> None:
    slope = SLOPE * (1 + k % 3)
    ds.RescaleSlope, ds.PixelData = f"{slope:.1f}", encode_pixels(slice_values(np.array(ds.ImagePositionPatient, float)), slope)


def signed(intercept: str | None, high_bits: bool = False) -> Change:
    def change(k: int, ds: Dataset) -> None:
        values = np.round(slice_values(np.array(ds.ImagePositionPatient, float)) - float(intercept or 0)).astype("<i2")
        ds.PixelRepresentation, ds.PixelData = 1, values.tobytes()
        ds.RescaleSlope, ds.RescaleIntercept = "1", intercept
        if high_bits:
            ds.BitsStored, ds.HighBit = 12, 11
            ds.PixelData = (values.astype("<u2") & 0x0FFF).tobytes()
        if intercept is None:
            del ds.RescaleSlope, ds.RescaleIntercept
            ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = MRImageStorage
            ds.Modality = "MR"

    return change


def noise(keyword: str, size: float) -> Change:
    rng = np.random.default_rng(5)
    return lambda k, ds: setattr(
        ds, keyword, decimals(np.array(getattr(ds, keyword), float) + size * rng.uniform(-1, 1, len(getattr(ds, keyword))))
    )


def jump(k: int, ds: Dataset) -> None:
    if k >= 5:
        first, *rest = ds.ImagePositionPatient
        ds.ImagePositionPatient = [float(first) + 8, *rest]


def truncated_pixels(k: int, ds: Dataset) -> None:
    if k == 4:
        ds.PixelData = ds.PixelData[:100]


def zoomed(k: int, ds: Dataset) -> None:
    if k == 4:
        ds.PixelSpacing = [2.0, 1.75]
        ds.PixelData = encode_pixels(slice_values(np.array(ds.ImagePositionPatient, float), pixel_spacing=(2.0, 1.75)))


def colour(k: int, ds: Dataset) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelData = 8, 8, 7, bytes(24 * 20 * 3)
    del ds.RescaleSlope, ds.RescaleIntercept


def secondary(k: int, ds: Dataset) -> None:
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage


# --- whole folders ---


def two_series(folder: Path) -> None:
    write_slices(folder, series="1.2.840.1")
    write_slices(folder, axes=CORONAL, series="1.2.840.2")


def two_sizes(folder: Path) -> None:
    write_slices(folder, stack(9), series="1.2.840.1")
    write_slices(folder, [stack(10)[9]], shape=(12, 20), series="1.2.840.1")


def three_planes(folder: Path) -> None:
    for axes in (AXIAL, SAGITTAL, CORONAL):
        write_slices(folder, stack(8, axes), axes=axes, series="1.2.840.1")


def with_localizer(folder: Path) -> None:
    scout = put(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_slices(folder, series="1.2.840.1")
    write_slices(folder, stack(1, CORONAL), scout, axes=CORONAL, series="1.2.840.1")


def other_files(folder: Path) -> None:
    write_slices(folder)
    (folder / "README.txt").write_text("exported for the study")
    (folder / "Thumbs.db").write_bytes(bytes(600))


def headerless(folder: Path) -> None:
    for path in write_slices(folder):
        dataset = pydicom.dcmread(path)
        dataset.preamble, dataset.file_meta = None, pydicom.dataset.FileMetaDataset()
        dataset.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)


def same_position(folder: Path) -> None:
    positions = stack()
    write_slices(folder, [*positions, positions[4]])


def same_uid(folder: Path) -> None:
    write_slices(folder, None, lambda k, ds: setattr(ds, "SOPInstanceUID", "1.2.3") if k in (2, 3) else None)


def truncated_file(folder: Path) -> None:
    path = write_slices(folder)[4]
    path.write_bytes(path.read_bytes()[:-300])


def rle(folder: Path) -> None:
    for path in write_slices(folder):
        ds = pydicom.dcmread(path)
        ds.compress(RLELossless, generate_instance_uid=False)
        ds.save_as(path, enforce_file_format=True)


def no_codec(folder: Path) -> None:
    for path in write_slices(folder):
        ds = pydicom.dcmread(path)
        ds.PixelData = pydicom.encaps.encapsulate([ds.PixelData])
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
        ds.file_meta.TransferSyntaxUID = pydicom.uid.UID("1.2.840.10008.1.2.4.51")  # 12 bits: no free decoder
        ds.save_as(path, enforce_file_format=True)


def enhanced(
    sop_class: Any = EnhancedCTImageStorage, positions: list[Vector] | None = None, groups: Any = lambda k: {}
) -> Make:
    frame_positions = stack()[::-1] if positions is None else positions
    return lambda folder: write_enhanced(folder / "frames.dcm", frame_positions, sop_class=sop_class, groups=groups)


def single_frames(folder: Path) -> None:
    for k, position in enumerate(stack()):
        write_enhanced(folder / f"{k}.dcm", [position], sop_class=EnhancedMRImageStorage)


def in_parts(*present: int) -> Make:
    """Return a writer of an object of 12 frames, split into three files of which some are present."""

    def make(folder: Path) -> None:
        for part in present:
            path = write_enhanced(folder / f"{part}.dcm", stack(12)[4 * part : 4 * part + 4])
            ds = pydicom.dcmread(path)
            ds.ConcatenationUID, ds.InConcatenationNumber, ds.InConcatenationTotalNumber = "1.2.7", part + 1, 3
            ds.save_as(path)

    return make


def mixed_frames(folder: Path) -> None:
    write_slices(folder, series="1.2.3.4")
    write_enhanced(folder / "frames.dcm", stack())


def legacy_echoes(k: int) -> dict[str, dict[str, Any]]:
    return {"UnassignedPerFrameConvertedAttributesSequence": {"EchoTime": float(10 * (1 + k // 10))}}


def echo_groups(k: int) -> dict[str, dict[str, Any]]:
    return {"MREchoSequence": {"EffectiveEchoTime": float(10 * (1 + k % 2))}}
