"""Ways to make a series of the phantom difficult: changes of single slices, and whole folders."""

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

from tests.data.dicom.phantom import AXIAL, SLOPE, Change, Vector, numbers, picture, stack, store, write, write_enhanced

SAGITTAL = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0))
CORONAL = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
Make = Callable[[Path], object]


def oblique() -> tuple[Vector, Vector]:
    """Return a row and a column that are turned about two axes."""
    a, b = np.radians(20), np.radians(-35)
    about_s = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_l = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    turn = about_s @ about_l
    return turn[:, 0], turn[:, 1]


def series(change: Change = lambda k, ds: None, places: list[Vector] | None = None, **options: Any) -> Make:
    """Return a maker of a series."""
    return lambda folder: write(folder, places, change, **options)


def put(index: int | None = None, **values: Any) -> Change:
    """Return a change that sets attributes of one slice, or of all; None deletes."""

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
    places = stack(count)
    return [place for place in places for _ in range(volumes)] if interleaved else places * volumes


def uneven(tilt: float = 0.0) -> list[Vector]:
    """Return 2.5 mm, then 5 mm between slices."""
    every = stack(16, tilt=tilt)
    return [*every[:6], *every[7::2]]


# --- changes of one slice ---


def a_copy(folder: Path) -> None:
    paths = write(folder)
    shutil.copy(paths[3], folder / "again.dcm")


def slope_by_slice(k: int, ds: Dataset) -> None:
    slope = SLOPE * (1 + k % 3)
    ds.RescaleSlope, ds.PixelData = f"{slope:.1f}", store(picture(np.array(ds.ImagePositionPatient, float)), slope)


def signed(intercept: str | None, high_bits: bool = False) -> Change:
    def change(k: int, ds: Dataset) -> None:
        values = np.round(picture(np.array(ds.ImagePositionPatient, float)) - float(intercept or 0)).astype("<i2")
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
        ds, keyword, numbers(np.array(getattr(ds, keyword), float) + size * rng.uniform(-1, 1, len(getattr(ds, keyword))))
    )


def jump(k: int, ds: Dataset) -> None:
    if k >= 5:
        left, *rest = ds.ImagePositionPatient
        ds.ImagePositionPatient = [float(left) + 8, *rest]


def cut_pixels(k: int, ds: Dataset) -> None:
    if k == 4:
        ds.PixelData = ds.PixelData[:100]


def zoomed(k: int, ds: Dataset) -> None:
    if k == 4:
        ds.PixelSpacing = [2.0, 1.75]
        ds.PixelData = store(picture(np.array(ds.ImagePositionPatient, float), pixel=(2.0, 1.75)))


def colour(k: int, ds: Dataset) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelData = 8, 8, 7, bytes(24 * 20 * 3)
    del ds.RescaleSlope, ds.RescaleIntercept


def secondary(k: int, ds: Dataset) -> None:
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage


# --- whole folders ---


def two_series(folder: Path) -> None:
    write(folder, series="1.2.840.1")
    write(folder, axes=CORONAL, series="1.2.840.2")


def two_sizes(folder: Path) -> None:
    write(folder, stack(9), series="1.2.840.1")
    write(folder, [stack(10)[9]], shape=(12, 20), series="1.2.840.1")


def three_planes(folder: Path) -> None:
    for axes in (AXIAL, SAGITTAL, CORONAL):
        write(folder, stack(8, axes), axes=axes, series="1.2.840.1")


def a_localizer(folder: Path) -> None:
    scout = put(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write(folder, series="1.2.840.1")
    write(folder, stack(1, CORONAL), scout, axes=CORONAL, series="1.2.840.1")


def litter(folder: Path) -> None:
    write(folder)
    (folder / "README.txt").write_text("exported for the study")
    (folder / "Thumbs.db").write_bytes(bytes(600))


def headerless(folder: Path) -> None:
    for path in write(folder):
        bare = pydicom.dcmread(path)
        bare.preamble, bare.file_meta = None, pydicom.dataset.FileMetaDataset()
        bare.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)


def other_uid_same_place(folder: Path) -> None:
    places = stack()
    write(folder, [*places, places[4]])


def same_uid(folder: Path) -> None:
    write(folder, None, lambda k, ds: setattr(ds, "SOPInstanceUID", "1.2.3") if k in (2, 3) else None)


def cut_file(folder: Path) -> None:
    path = write(folder)[4]
    path.write_bytes(path.read_bytes()[:-300])


def rle(folder: Path) -> None:
    for path in write(folder):
        ds = pydicom.dcmread(path)
        ds.compress(RLELossless, generate_instance_uid=False)
        ds.save_as(path, enforce_file_format=True)


def no_codec(folder: Path) -> None:
    for path in write(folder):
        ds = pydicom.dcmread(path)
        ds.PixelData = pydicom.encaps.encapsulate([ds.PixelData])
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
        ds.file_meta.TransferSyntaxUID = pydicom.uid.UID("1.2.840.10008.1.2.4.51")  # 12 bits: no free decoder
        ds.save_as(path, enforce_file_format=True)


def enhanced(sop_class: Any = EnhancedCTImageStorage, places: list[Vector] | None = None, groups: Any = lambda k: {}) -> Make:
    own = stack()[::-1] if places is None else places
    return lambda folder: write_enhanced(folder / "frames.dcm", own, sop_class=sop_class, groups=groups)


def single_frames(folder: Path) -> None:
    for k, place in enumerate(stack()):
        write_enhanced(folder / f"{k}.dcm", [place], sop_class=EnhancedMRImageStorage)


def in_parts(*there: int) -> Make:
    """Return a writer of one object of 12 frames that was cut into three files, of which some are there."""

    def make(folder: Path) -> None:
        for part in there:
            path = write_enhanced(folder / f"{part}.dcm", stack(12)[4 * part : 4 * part + 4])
            ds = pydicom.dcmread(path)
            ds.ConcatenationUID, ds.InConcatenationNumber, ds.InConcatenationTotalNumber = "1.2.7", part + 1, 3
            ds.save_as(path)

    return make


def mixed_frames(folder: Path) -> None:
    write(folder, series="1.2.3.4")
    write_enhanced(folder / "frames.dcm", stack())


def legacy_echoes(k: int) -> dict[str, dict[str, Any]]:
    return {"UnassignedPerFrameConvertedAttributesSequence": {"EchoTime": float(10 * (1 + k // 10))}}


def echo_groups(k: int) -> dict[str, dict[str, Any]]:
    return {"MREchoSequence": {"EffectiveEchoTime": float(10 * (1 + k % 2))}}
