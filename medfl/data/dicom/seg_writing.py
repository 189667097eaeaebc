"""Writer of a prediction as a DICOM SEG, with the model, the segments and the source images."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from medfl import __version__
from medfl.data.cases import Source
from medfl.data.dicom.checks import check_series
from medfl.data.dicom.derived_uids import derive_uid, list_source_uids
from medfl.data.dicom.frames import frame_number
from medfl.data.dicom.headers import Header
from medfl.data.dicom.own_predictions import MANUFACTURER, QUALIFICATION
from medfl.data.dicom.parsing import parse_file
from medfl.data.dicom.slices import plane_matrix
from medfl.data.dicom.source_headers import read_source_headers
from medfl.data.library_output import silence_libraries
from medfl.errors import DataError
from medfl.site import SiteData

_SERIES_NUMBER = 900
_MAX_TEXT_LENGTH = 64  # characters of value representation LO, PS3.5 section 6.2
_LESIONS = ("lesion", "tumor", "tumour", "metastasis", "nodule", "mass", "cancer")
_ORGANS = ("Liver", "Spleen", "Kidney", "Lung", "Heart", "Brain", "Prostate", "Pancreas", "Bladder", "Hippocampus", "Aorta")


def source_planes(source: Source, settings: SiteData) -> tuple[list[Header], list[NDArray[np.float64]], tuple[int, int]]:
    """Return the slices of a series as they were acquired, with their positions.

    Parameters
    ----------
    source : Source
        Files of the series.
    settings : SiteData
        What the site allows.

    Returns
    -------
    headers : list of Header
        One per slice or frame, along the slice normal.
    planes : list of ndarray
        Position of the pixels of each, as in `medfl.data.dicom.slices.plane_matrix`.
    shape : tuple of int
        Columns and rows.

    Raises
    ------
    DataError
        ``PRED-SEG``, and the codes of `medfl.data.dicom.checks`.
    """
    headers, _ = check_series(
        read_source_headers(source, force=settings.allow_headerless), settings, source.select[0] if source.select else ""
    )
    if len({header.path for header in headers}) > 1 and any(frame_number(header) for header in headers):
        raise _unsuitable_series_error("the series consists of several multi-frame objects.")
    if not all(header.text("FrameOfReferenceUID") for header in headers):
        raise _unsuitable_series_error("the series names no frame of reference.")
    planes = []
    for header in headers:
        position, orientation, pixel_spacing = (
            np.array(header.numbers(keyword), dtype=np.float64)
            for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
        )
        planes.append(plane_matrix(position, orientation, (float(pixel_spacing[0]), float(pixel_spacing[1]))))
    return headers, planes, (int(headers[0].text("Columns")), int(headers[0].text("Rows")))


def make_seg(
    headers: Sequence[Header],
    labels: Sequence[NDArray[np.uint8]],
    classes: Sequence[str],
    origin: tuple[str, str, str],
    kind: str,
    settings: SiteData,
    codes: Sequence[tuple[str, str]] = (),
) -> bytes:
    """Return the bytes of a DICOM SEG; what is made of the same has the same UIDs, and differs in the time of making alone.

    Parameters
    ----------
    headers : sequence of Header
        The slices.
    labels : sequence of ndarray
        Classes on each slice, (columns, rows), uint8.
    classes : sequence of str
        Names of the classes; the first is the background.
    origin : tuple of str
        Name, version and SHA-256 of the model.
    kind : {"BINARY", "LABELMAP"}
        SegmentationType.
    settings : SiteData
        The site's `allow_headerless`.
    codes : sequence of (str, str)
        SNOMED CT code and meaning of each class but the background; empty: looked up by the names of the classes.

    Raises
    ------
    DataError
        ``PRED-SEG``.
    """
    import highdicom  # half a second that sites without DICOM need not spend

    name, version, digest = origin
    with silence_libraries():
        try:
            sources, pixels = _sources(headers, labels, settings)
            made_of: list[str | bytes] = [kind, __version__, *origin, *classes, "", *(word for code in codes for word in code)]
            made_of += [list_source_uids(sources), str(pixels.shape), pixels.tobytes()]
            segmentation = highdicom.seg.Segmentation(
                source_images=sources,
                pixel_array=pixels,
                segmentation_type=kind,
                segment_descriptions=[
                    _describe_segment(n, text, codes[n - 1] if codes else None, origin) for n, text in enumerate(classes) if n
                ],
                series_instance_uid=derive_uid("series", *made_of),
                series_number=_SERIES_NUMBER,
                series_description="Prediction of medfl, for research",
                sop_instance_uid=derive_uid("instance", *made_of),
                instance_number=1,
                manufacturer=MANUFACTURER,
                manufacturer_model_name=name[:_MAX_TEXT_LENGTH],
                software_versions=(__version__, version[:_MAX_TEXT_LENGTH]),
                device_serial_number=digest[:_MAX_TEXT_LENGTH],
                transfer_syntax_uid=ExplicitVRLittleEndian,
                omit_empty_frames=True,
            )
            segmentation.ContentQualification = QUALIFICATION
            for item in (*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence):
                item.DimensionOrganizationUID = derive_uid("dimensions", *made_of)
            if kind == "LABELMAP":  # with GDCM, which highdicom would use, the process crashes at an odd number of pixels
                segmentation.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
            buffer = BytesIO()
            segmentation.save_as(buffer)
        except Exception:  # highdicom requires attributes that a header may lack, and quotes values
            raise _unsuitable_series_error("its headers lack attributes that a segmentation must copy.") from None
    return buffer.getvalue()


def _sources(
    headers: Sequence[Header], labels: Sequence[NDArray[np.uint8]], settings: SiteData
) -> tuple[list[Dataset], NDArray[np.uint8]]:
    """Return the source images and the labels of each of their frames, (frames, rows, columns)."""

    def load(header: Header) -> Dataset:
        return parse_file(header.path, stop_before_pixels=True, force=settings.allow_headerless)

    stacked = np.stack([plane.T for plane in labels])
    if not frame_number(headers[0]):
        return [load(header) for header in headers], stacked
    source = load(headers[0])
    pixels = np.zeros((int(source.NumberOfFrames), *stacked.shape[1:]), dtype=np.uint8)
    pixels[[frame_number(header) - 1 for header in headers]] = stacked
    return [source], pixels


def _describe_segment(number: int, name: str, code: tuple[str, str] | None, origin: tuple[str, str, str]) -> Any:
    import highdicom

    category, kind = _snomed_codes(name)
    if code is not None:
        kind = highdicom.sr.CodedConcept(code[0], "SCT", code[1][:_MAX_TEXT_LENGTH])
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
    """Return the SNOMED CT codes of property category and type for a class; tissue, which is always right, if unknown."""
    name_folded = name.casefold()
    if any(word in name_folded for word in _LESIONS):
        return codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Lesion
    for organ in _ORGANS:
        if organ.casefold() in name_folded and hasattr(codes.SCT, organ):
            return codes.SCT.AnatomicalStructure, getattr(codes.SCT, organ)
    return codes.SCT.Tissue, codes.SCT.Tissue


def _unsuitable_series_error(why: str) -> DataError:
    return DataError("PRED-SEG", f"the series cannot carry a DICOM segmentation: {why}", "Write the prediction as NIfTI.")
