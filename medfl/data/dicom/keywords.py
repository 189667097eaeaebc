"""Keywords of the DICOM attributes that medfl reads from every header, and of those that tell the volumes of a series apart."""

from __future__ import annotations

# Attributes in which the volumes of one series may differ; those that say more come first
_INDEXED_VOLUME_KEYWORDS = (
    "EchoTime",
    "EchoNumbers",
    "DiffusionBValue",
    "TemporalPositionIdentifier",
    "NominalPercentageOfCardiacPhase",
    "NominalPercentageOfRespiratoryPhase",
    "TriggerTime",
    "ImageTriggerDelay",
    "InversionTime",
    "FlipAngle",
    "KVP",
    "ConvolutionKernel",
    "AcquisitionNumber",
    "ImageType",
    "ComplexImageComponent",
    "ContrastBolusAgent",
    "SequenceName",
    "SliceThickness",
    "StackID",
    "SeriesNumber",
    "AcquisitionDateTime",
    "AcquisitionTime",
    "ContentTime",
)
# The same, but read from the files only where nothing else tells the images of a series apart
FURTHER_KEYWORDS = (
    "FrameReferenceTime",
    "DiffusionGradientOrientation",
    "DiffusionDirectionality",
    "FilterType",
    "ReconstructionAlgorithm",
    "RepetitionTime",
    "ScanOptions",
    "ScanningSequence",
    "ReconstructionDiameter",
    "ActualFrameDuration",
    "AcquisitionDate",
    "ContentDate",
    "SeriesTime",
    "ProtocolName",
    "SeriesDescription",
)
VOLUME_KEYWORDS = (*_INDEXED_VOLUME_KEYWORDS, *FURTHER_KEYWORDS)
TIME_KEYWORDS = ("AcquisitionDateTime", "AcquisitionTime", "ContentTime")
# Their values may tell of a person, or are free text: no message shows them, even where they are numbers
UNSHOWN_KEYWORDS = (
    *TIME_KEYWORDS,
    "AcquisitionDate",
    "ContentDate",
    "SeriesTime",
    "ContrastBolusAgent",
    "SequenceName",
    "StackID",
    "ProtocolName",
    "SeriesDescription",
)
IDENTITY_KEYWORDS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "PatientID",
    "IssuerOfPatientID",
    "Modality",
)
GEOMETRY_KEYWORDS = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SpacingBetweenSlices",
    "InstanceNumber",
    "Rows",
    "Columns",
    "NumberOfFrames",
)
PIXEL_KEYWORDS = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsStored",
    "HighBit",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "BurnedInAnnotation",
)
CONCATENATION_KEYWORDS = ("ConcatenationUID", "InConcatenationTotalNumber")  # PS3.3 C.7.6.16.2.2.4
SELECTION_KEYWORDS = (  # of what is shown, by which a study or a site says which images are meant
    "SeriesDescription",
    "ProtocolName",
    "BodyPartExamined",
    "ViewPosition",
    "Laterality",
    "ImageLaterality",
    "PresentationIntentType",
)
DEVICE_KEYWORDS = ("Manufacturer", "ManufacturerModelName", "MagneticFieldStrength")
LABEL_KEYWORDS = ("ContentQualification",)  # of a segmentation, whether it is for research (PS3.3 C.8.13.2)
KEYWORDS = (
    *IDENTITY_KEYWORDS,
    *GEOMETRY_KEYWORDS,
    *PIXEL_KEYWORDS,
    *CONCATENATION_KEYWORDS,
    *DEVICE_KEYWORDS,
    *LABEL_KEYWORDS,
    *_INDEXED_VOLUME_KEYWORDS,
    *SELECTION_KEYWORDS,
)
