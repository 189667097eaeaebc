"""Headers of the frames of enhanced multi-frame objects, each like the header of a single-frame file."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import (
    BreastTomosynthesisImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRColorImageStorage,
    EnhancedMRImageStorage,
    EnhancedPETImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
    OphthalmicTomographyImageStorage,
    XRay3DAngiographicImageStorage,
    XRay3DCraniofacialImageStorage,
)

from medfl.data.dicom.headers import Header
from medfl.data.dicom.keywords import VOLUME_KEYWORDS
from medfl.data.dicom.parsing import parse_file
from medfl.data.library_output import library_errors_as, silence_libraries
from medfl.errors import DataError

ENHANCED_SOP_CLASSES = (
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    EnhancedMRColorImageStorage,
    EnhancedPETImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
    XRay3DAngiographicImageStorage,
    XRay3DCraniofacialImageStorage,
    BreastTomosynthesisImageStorage,
    OphthalmicTomographyImageStorage,
)
FRAME_NUMBER = "ReferencedFrameNumber"  # of a frame within its object, counted from 1
# keyword of a single-frame file: sequence and keyword of the same value in a functional group (PS3.3 C.7.6.16)
_FUNCTIONAL_GROUPS = {
    "ImagePositionPatient": (("PlanePositionSequence", "ImagePositionPatient"),),
    "ImageOrientationPatient": (("PlaneOrientationSequence", "ImageOrientationPatient"),),
    "PixelSpacing": (("PixelMeasuresSequence", "PixelSpacing"),),
    "SpacingBetweenSlices": (("PixelMeasuresSequence", "SpacingBetweenSlices"),),
    "RescaleSlope": (("PixelValueTransformationSequence", "RescaleSlope"),),
    "RescaleIntercept": (("PixelValueTransformationSequence", "RescaleIntercept"),),
    "RescaleType": (("PixelValueTransformationSequence", "RescaleType"),),
    "EchoTime": (("MREchoSequence", "EffectiveEchoTime"),),
    "DiffusionBValue": (("MRDiffusionSequence", "DiffusionBValue"),),
    "TemporalPositionIdentifier": (("FrameContentSequence", "TemporalPositionIndex"),),
    "NominalPercentageOfCardiacPhase": (("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),),
    "NominalPercentageOfRespiratoryPhase": (("RespiratorySynchronizationSequence", "NominalPercentageOfRespiratoryPhase"),),
    "TriggerTime": (("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),),
    "InversionTime": (("MRModifierSequence", "InversionTimes"),),
    "FlipAngle": (("MRTimingAndRelatedParametersSequence", "FlipAngle"),),
    "RepetitionTime": (("MRTimingAndRelatedParametersSequence", "RepetitionTime"),),
    "DiffusionDirectionality": (("MRDiffusionSequence", "DiffusionDirectionality"),),
    "KVP": (("CTXRayDetailsSequence", "KVP"),),
    "ConvolutionKernel": (("CTReconstructionSequence", "ConvolutionKernel"),),
    "AcquisitionNumber": (("FrameContentSequence", "FrameAcquisitionNumber"),),
    "AcquisitionDateTime": (("FrameContentSequence", "FrameAcquisitionDateTime"),),
    "StackID": (("FrameContentSequence", "StackID"),),
    "SliceThickness": (("PixelMeasuresSequence", "SliceThickness"),),
    "ContrastBolusAgent": (("ContrastBolusUsageSequence", "ContrastBolusAgentAdministered"),),
    "ComplexImageComponent": (("MRImageFrameTypeSequence", "ComplexImageComponent"),),
    "ImageType": tuple((f"{prefix}FrameTypeSequence", "FrameType") for prefix in ("MRImage", "CTImage", "PET", "XRay3D")),
}
_LEGACY_SEQUENCES = ("UnassignedPerFrameConvertedAttributesSequence", "UnassignedSharedConvertedAttributesSequence")


def is_enhanced(header: Header) -> bool:
    """Return whether an object has functional groups, which even one of a single frame may have."""
    return header.frame_count > 1 or header.text("SOPClassUID") in ENHANCED_SOP_CLASSES


def frame_number(header: Header) -> int:
    """Return the number of the frame that a header describes, from 1; 0 for a single-frame file."""
    return int(header.text(FRAME_NUMBER) or 0)


def frame_headers(header: Header, *, force: bool = False) -> list[Header]:
    """Return the headers of the frames of an object.

    Parameters
    ----------
    header : Header
        Header of the object.
    force : bool
        Whether the file may lack the 128-byte preamble.

    Returns
    -------
    list of Header
        One per frame, with the keywords of single-frame files (``EchoTime`` for EffectiveEchoTime, and so on) and the number
        of the frame.

    Raises
    ------
    DataError
        ``DCM-READ``, or ``DCM-NO-GEOMETRY`` for an object without functional groups.
    """
    with silence_libraries():
        with library_errors_as(_unreadable_error):
            dataset = parse_file(header.path, stop_before_pixels=True, force=force)
        shared = _first_item(dataset, "SharedFunctionalGroupsSequence")
        frames: Sequence[Dataset] = dataset.get("PerFrameFunctionalGroupsSequence") or ()
        if len(frames) != header.frame_count:
            what = f"the object gives positions for {len(frames)} of its {header.frame_count} frames."
            raise DataError("DCM-NO-GEOMETRY", what, "Take the original CT or MR series.")
        return [_make_frame_header(header, frame, shared, number) for number, frame in enumerate(frames, start=1)]


def _make_frame_header(header: Header, frame: Dataset, shared: Dataset, number: int) -> Header:
    values = dict(header.values) | {FRAME_NUMBER: str(number), "NumberOfFrames": "1"}
    for keyword, sources in _FUNCTIONAL_GROUPS.items():
        for group, group_keyword in sources:
            value = _first_item(frame, group).get(group_keyword, _first_item(shared, group).get(group_keyword))
            if value not in (None, ""):
                values[keyword] = _to_text(value)
    for converted in (_first_item(frame, _LEGACY_SEQUENCES[0]), _first_item(shared, _LEGACY_SEQUENCES[1])):
        for keyword in VOLUME_KEYWORDS:
            if keyword not in values and converted.get(keyword) not in (None, ""):
                values[keyword] = _to_text(converted.get(keyword))
    return Header(header.path, values)


def _unreadable_error() -> DataError:
    return DataError("DCM-READ", "a file of the series cannot be read.", "Export the series again.")


def _first_item(dataset: Dataset, sequence: str) -> Dataset:
    items = dataset.get(sequence)
    return items[0] if items else Dataset()


def _to_text(value: object) -> str | tuple[str, ...]:
    if isinstance(value, MultiValue | list | tuple):
        return tuple(str(part).strip() for part in value)
    return str(value).strip()
