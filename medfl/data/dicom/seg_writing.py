"""Making a DICOM-SEG of a prediction: what it says of itself, of its segments, and of the images it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, generate_uid

from medfl import __version__
from medfl.data.cases import Source
from medfl.data.dicom.checks import check_series
from medfl.data.dicom.frames import frame_number
from medfl.data.dicom.headers import Header, read_headers
from medfl.data.dicom.slices import plane_matrix
from medfl.data.library_output import silence_libraries
from medfl.errors import DataError
from medfl.site import SiteData

_SERIES_NUMBER = 900
_MAX_TEXT_LENGTH = 64  # characters that a DICOM long string holds
_LESIONS = ("lesion", "tumor", "tumour", "metastasis", "nodule", "mass", "cancer")
_ORGANS = ("Liver", "Spleen", "Kidney", "Lung", "Heart", "Brain", "Prostate", "Pancreas", "Bladder", "Hippocampus", "Aorta")


def source_planes(source: Source, how: SiteData) -> tuple[list[Header], list[NDArray[np.float64]], tuple[int, int]]:
    """Return the slices of a series as they were acquired.

    Parameters
    ----------
    source : Source
        Its files.
    how : SiteData
        What the site allows of a series.

    Returns
    -------
    headers : list of Header
        One a slice or frame, along the slice normal.
    planes : list of ndarray
        Where each lies, as `medfl.data.dicom.slices.plane` tells it.
    shape : tuple of int
        Columns and rows.

    Raises
    ------
    DataError
        ``PRED-SEG``, and the codes of `medfl.data.dicom.checks`.
    """
    headers, _ = check_series(
        read_headers(source.paths, force=how.allow_headerless), how, source.select[0] if source.select else ""
    )
    if len({header.path for header in headers}) > 1 and any(frame_number(header) for header in headers):
        raise _unsuitable_series_error("the series consists of several multi-frame objects.")
    if not all(header.text("FrameOfReferenceUID") for header in headers):
        raise _unsuitable_series_error("the series names no frame of reference.")
    planes = []
    for header in headers:
        position, orientation, pixel = (
            np.array(header.numbers(keyword), dtype=np.float64)
            for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
        )
        planes.append(plane_matrix(position, orientation, (float(pixel[0]), float(pixel[1]))))
    return headers, planes, (int(headers[0].text("Columns")), int(headers[0].text("Rows")))


def make_seg(
    headers: Sequence[Header],
    drawn: Sequence[NDArray[np.uint8]],
    classes: Sequence[str],
    origin: tuple[str, str, str],
    kind: str,
    how: SiteData,
) -> bytes:
    """Return the bytes of a DICOM-SEG.

    Parameters
    ----------
    headers : sequence of Header
        The slices.
    drawn : sequence of ndarray
        The classes on each slice, (columns, rows), uint8.
    classes : sequence of str
        Names; the first is the background.
    origin : tuple of str
        Name, version and SHA-256 of the model.
    kind : {"BINARY", "LABELMAP"}
        SegmentationType.
    how : SiteData
        `allow_headerless` counts.

    Raises
    ------
    DataError
        ``PRED-SEG``.
    """
    import highdicom  # half a second that a site without DICOM does not pay

    name, version, digest = origin
    with silence_libraries():
        try:
            sources, pixels = _sources(headers, drawn, how)
            made = highdicom.seg.Segmentation(
                source_images=sources,
                pixel_array=pixels,
                segmentation_type=kind,
                segment_descriptions=[_describe_segment(n, text, origin) for n, text in enumerate(classes) if n],
                series_instance_uid=generate_uid(),
                series_number=_SERIES_NUMBER,
                series_description="Prediction of medfl, for research",
                sop_instance_uid=generate_uid(),
                instance_number=1,
                manufacturer="medfl",
                manufacturer_model_name=name[:_MAX_TEXT_LENGTH],
                software_versions=(__version__, version[:_MAX_TEXT_LENGTH]),
                device_serial_number=digest[:_MAX_TEXT_LENGTH],
                transfer_syntax_uid=ExplicitVRLittleEndian,
                omit_empty_frames=True,
            )
            made.ContentQualification = "RESEARCH"
            if kind == "LABELMAP":  # GDCM, which highdicom would let do it, ends the process at an odd number of pixels
                made.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
            buffer = BytesIO()
            made.save_as(buffer)
        except Exception:  # highdicom asks for much that a header may lack, and quotes it
            raise _unsuitable_series_error("its headers lack what a segmentation must repeat.") from None
    return buffer.getvalue()


def _sources(
    headers: Sequence[Header], drawn: Sequence[NDArray[np.uint8]], how: SiteData
) -> tuple[list[Dataset], NDArray[np.uint8]]:
    """Return the source images and what was drawn on each of their frames, (frames, rows, columns)."""

    def load(header: Header) -> Dataset:
        return pydicom.dcmread(header.path, stop_before_pixels=True, force=how.allow_headerless)

    layers = np.stack([layer.T for layer in drawn])
    if not frame_number(headers[0]):
        return [load(header) for header in headers], layers
    source = load(headers[0])
    pixels = np.zeros((int(source.NumberOfFrames), *layers.shape[1:]), dtype=np.uint8)
    pixels[[frame_number(header) - 1 for header in headers]] = layers
    return [source], pixels


def _describe_segment(number: int, name: str, origin: tuple[str, str, str]) -> Any:
    import highdicom

    category, kind = _snomed_codes(name)
    model, version, digest = origin
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:_MAX_TEXT_LENGTH],
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=f"medfl:{model}"[:_MAX_TEXT_LENGTH],
            version=f"{version} {digest[:12]}"[:_MAX_TEXT_LENGTH],
            family=codes.cid7162.ArtificialIntelligence,
        ),
    )


def _snomed_codes(name: str) -> tuple[Any, Any]:
    """Return SNOMED's category and type for a class; tissue, which is always true, for a name that says nothing."""
    wanted = name.casefold()
    if any(word in wanted for word in _LESIONS):
        return codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Lesion
    for organ in _ORGANS:
        if organ.casefold() in wanted and hasattr(codes.SCT, organ):
            return codes.SCT.AnatomicalStructure, getattr(codes.SCT, organ)
    return codes.SCT.Tissue, codes.SCT.Tissue


def _unsuitable_series_error(why: str) -> DataError:
    return DataError("PRED-SEG", f"the series cannot carry a DICOM segmentation: {why}", "Write the prediction as NIfTI.")
