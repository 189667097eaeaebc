"""Writers of labels as other programs write them, SEG of each type and RTSTRUCT, and a reader of NRRD files."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import RTStructureSetStorage, generate_uid

from medfl.data.volume import LPS_TO_RAS
from tests.data.dicom.phantom import new_object

Points = NDArray[np.float64]


def sort_by_position(series: Sequence[Path]) -> list[Dataset]:
    """Return the datasets of a series along its slice normal."""
    datasets = [pydicom.dcmread(path) for path in series]
    cosines = np.array(datasets[0].ImageOrientationPatient, dtype=float)
    normal = np.cross(cosines[:3], cosines[3:])
    return sorted(datasets, key=lambda ds: float(np.array(ds.ImagePositionPatient, dtype=float) @ normal))


def write_seg(
    path: Path,
    series: Sequence[Path],
    segments: Mapping[str, NDArray[Any]],
    contour_type: str = "BINARY",
    change: Callable[[Dataset], object] = lambda ds: None,
    **options: Any,
) -> Path:
    """Write segments, each (X, Y, Z) in the order of the slices along their normal; FRACTIONAL ones from 0 to 1."""
    datasets = sort_by_position(series)
    stacked = np.stack([segment.transpose(2, 1, 0) for segment in segments.values()], axis=-1)
    if contour_type == "LABELMAP":
        stacked = (stacked * np.arange(1, len(segments) + 1)).max(axis=-1)
    segmentation = highdicom.seg.Segmentation(
        source_images=datasets,
        pixel_array=stacked.astype(np.float32 if contour_type == "FRACTIONAL" else np.uint8),
        segmentation_type=contour_type,
        segment_descriptions=[description(n, name) for n, name in enumerate(segments, 1)],
        **(producer() | options),
    )
    change(segmentation)
    segmentation.save_as(path)
    return path


def description(number: int, name: str) -> Any:
    return highdicom.seg.SegmentDescription(
        number, name, codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Lesion, "MANUAL"
    )


def producer() -> dict[str, Any]:
    """Return the attributes of every SEG about its producer."""
    return {
        "series_instance_uid": generate_uid(),
        "series_number": 9,
        "sop_instance_uid": generate_uid(),
        "instance_number": 1,
        "manufacturer": "maker",
        "manufacturer_model_name": "model",
        "software_versions": "1",
        "device_serial_number": "1",
    }


def write_rtstruct(
    path: Path,
    series: Sequence[Path],
    rois: Mapping[str, Sequence[tuple[Points, Dataset | None]]],
    *,
    contour_type: str = "CLOSED_PLANAR",
    change: Callable[[Dataset], object] = lambda ds: None,
) -> Path:
    """Write contours, each with its points in LPS mm and the image that it references; all images are listed too."""
    datasets = sort_by_position(series)
    rt = new_object(RTStructureSetStorage)
    rt.Modality, rt.StudyInstanceUID, rt.SeriesInstanceUID = "RTSTRUCT", datasets[0].StudyInstanceUID, generate_uid()
    for keyword in ("SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit"):
        delattr(rt, keyword)
    series_item = _item(
        SeriesInstanceUID=datasets[0].SeriesInstanceUID, ContourImageSequence=[_reference(ds) for ds in datasets]
    )
    frame = _item(
        FrameOfReferenceUID=datasets[0].FrameOfReferenceUID,
        RTReferencedStudySequence=[_item(RTReferencedSeriesSequence=[series_item])],
    )
    rt.ReferencedFrameOfReferenceSequence = [frame]
    rt.StructureSetROISequence = [_item(ROINumber=n, ROIName=name) for n, name in enumerate(rois, 1)]
    rt.ROIContourSequence = [
        _item(ReferencedROINumber=n, ContourSequence=[_contour(points, image, contour_type) for points, image in contours])
        for n, contours in enumerate(rois.values(), 1)
    ]
    change(rt)
    rt.save_as(path, enforce_file_format=True)
    return path


def _item(**values: Any) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _reference(ds: Dataset) -> Dataset:
    return _item(ReferencedSOPClassUID=ds.SOPClassUID, ReferencedSOPInstanceUID=ds.SOPInstanceUID)


def _contour(points: Points, image: Dataset | None, contour_type: str) -> Dataset:
    texts = [f"{value:.4f}" for value in points.ravel()]
    item = _item(ContourGeometricType=contour_type, NumberOfContourPoints=len(points), ContourData=texts)
    if image is not None:
        item.ContourImageSequence = [_reference(image)]
    return item


def ellipse(centre: Any, axes: tuple[Any, Any], radii: tuple[float, float], count: int = 720) -> Points:
    """Return the points of an ellipse in the plane of two unit vectors, mm."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)[:, np.newaxis]
    row, column = (np.asarray(axis, dtype=float) for axis in axes)
    return np.asarray(centre + radii[0] * np.cos(angle) * row + radii[1] * np.sin(angle) * column)


def read_nrrd(path: Path) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """Return voxels, (X, Y, Z), and RAS affine of an NRRD file, raw or gzip."""
    header, data = path.read_bytes().split(b"\n\n", 1)
    fields = dict(line.split(": ", 1) for line in header.decode().splitlines() if ": " in line and not line.startswith("#"))
    kinds = {"short": "<i2", "unsigned char": "u1"}
    raw = gzip.decompress(data) if fields["encoding"].startswith("gz") else data
    array = np.frombuffer(raw, kinds[fields["type"]]).reshape([int(n) for n in fields["sizes"].split()], order="F")
    vectors = [[float(v) for v in part.split(",")] for part in re.findall(r"\(([^)]*)\)", fields["space directions"])]
    affine = np.eye(4)
    affine[:3, :3] = np.array(vectors).T
    affine[:3, 3] = [float(v) for v in fields["space origin"].strip("()").split(",")]
    return array.astype(np.int16), LPS_TO_RAS @ affine
