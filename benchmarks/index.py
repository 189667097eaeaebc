"""Reading DICOM headers and indexing a folder, against a bare pydicom loop that reads the same attributes of the same files.

Run ``python -m benchmarks.index``. One process, files in the page cache, all sides in turns. Budgets: at least 0.8 times as
many headers a second as the bare loop, or 5,000; an index of unchanged files in a fifth of the time of the first one.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from medfl.data.dicom.headers import KEYWORDS, read_header
from medfl.data.index import file_index as index_module
from medfl.data.index.file_index import FileIndex
from medfl.site import Resources, Site, SiteData

SERIES, SLICES, REPEATS = 30, 100, 5


def make(folder: Path) -> list[Path]:
    """Write series of small slices with the attributes that a scanner writes, each with a sequence and private elements."""
    paths = []
    for series in range(SERIES):
        place = folder / f"{series:03d}"
        place.mkdir(parents=True)
        uids = [generate_uid() for _ in range(3)]
        for k in range(SLICES):
            paths.append(place / f"{k:04d}")
            paths[-1].write_bytes(_slice(uids, series, k))
    return paths


def _slice(uids: list[str], series: int, k: int) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = MRImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = f"{uids[1][:56]}.{k + 1}"
    ds = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = uids
    ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex = f"P{series:03d}", "Made^Up", "", "O"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20240101"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101500"
    ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName, ds.InstitutionName = "1", "1", "Nobody", "Made-up hospital"
    ds.Modality, ds.ImageType, ds.Manufacturer, ds.ManufacturerModelName = "MR", ["ORIGINAL", "PRIMARY", "M"], "maker", "model"
    ds.StudyDescription, ds.SeriesDescription, ds.ProtocolName, ds.BodyPartExamined = "MR brain", "AX T1", "head", "BRAIN"
    ds.ReferencedImageSequence = [pydicom.Dataset() for _ in range(3)]
    for item in ds.ReferencedImageSequence:
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = MRImageStorage, uids[0]
    ds.MagneticFieldStrength, ds.EchoTime, ds.RepetitionTime, ds.FlipAngle, ds.InversionTime = "1.5", "12", "550", "90", "0"
    ds.SliceThickness, ds.SpacingBetweenSlices, ds.PixelBandwidth, ds.EchoTrainLength = "1", "1", "150", "1"
    for number in range(20):
        ds.private_block(0x0019, "MAKER", create=True).add_new(number, "LO", "private value")
    ds.InstanceNumber, ds.SeriesNumber, ds.AcquisitionNumber = k + 1, 1, 1
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, k], [1, 0, 0, 0, 1, 0]
    ds.Rows = ds.Columns = 32
    ds.PixelSpacing, ds.SamplesPerPixel, ds.PhotometricInterpretation = [1, 1], 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.PixelData = bytes(2 * 32 * 32)
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def bare(paths: list[Path]) -> None:
    """Read the same attributes as people would with pydicom alone."""
    for path in paths:
        dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(KEYWORDS))
        _ = [str(dataset.get(keyword, "")) for keyword in KEYWORDS]


def headers(paths: list[Path]) -> None:
    """Read them with medfl."""
    for path in paths:
        read_header(path)


def tree(site: Site) -> None:
    """Index the folder of a site."""
    with FileIndex(site) as index:
        index.tree(site.root)


def _seconds(action: Callable[[], None]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def main() -> None:
    """Measure in turns and print ratios of the fastest: other work on the machine only slows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = make(folder / "data")
        site = Site(name="bench", folder=folder, data=SiteData(root="data"), resources=Resources(store=str(folder / "store")))
        index_module._SETTLED = 0  # the files have just been made
        best = dict.fromkeys(("bare", "headers", "cold", "warm"), float("inf"))
        for _ in range(REPEATS):
            shutil.rmtree(folder / "store", ignore_errors=True)
            sides: dict[str, Callable[[], None]] = {
                "bare": lambda: bare(paths),
                "headers": lambda: headers(paths),
                "cold": lambda: tree(site),
                "warm": lambda: tree(site),
            }
            best = {side: min(best[side], _seconds(action)) for side, action in sides.items()}
    print(f"headers a second: {len(paths) / best['headers']:.0f}, pydicom alone {len(paths) / best['bare']:.0f}")
    print(f"headers a second / pydicom alone: {best['bare'] / best['headers']:.2f}")
    print(f"first index / pydicom alone: {best['cold'] / best['bare']:.2f}")
    print(f"index of unchanged files / first index: {best['warm'] / best['cold']:.2f}")


if __name__ == "__main__":
    main()
