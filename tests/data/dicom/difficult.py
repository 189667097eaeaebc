"""Difficult DICOM series of the phantom, each with what is expected of a reader: the right volume, or a refusal by code."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom.uid import CTImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedCTImageStorage

from medfl.site import SiteData
from tests.data.dicom.phantom import stack
from tests.data.dicom.writing import (
    CORONAL,
    SAGITTAL,
    Make,
    both,
    colour,
    each,
    echo_groups,
    enhanced,
    headerless,
    identical_copy,
    in_parts,
    jump,
    legacy_echoes,
    mixed_frames,
    no_codec,
    noise,
    oblique,
    other_files,
    put,
    repeated,
    rle,
    same_position,
    same_uid,
    secondary,
    series,
    signed,
    single_frames,
    slope_by_slice,
    three_planes,
    truncated_file,
    truncated_pixels,
    two_series,
    two_sizes,
    uneven,
    with_localizer,
    zoomed,
)

DEFAULTS = SiteData()


@dataclass(frozen=True)
class Difficult:
    """One difficult series.

    Parameters
    ----------
    make : callable
        Writer of the series into a folder.
    code : str
        Code of the refusal; empty when the series must be read correctly.
    warnings : tuple of str
        Codes of the volume's warnings.
    how, select
        Arguments of `medfl.data.dicom.series.read_series`.
    says : str
        Part of the message.
    """

    make: Make
    code: str = ""
    warnings: tuple[str, ...] = ()
    settings: SiteData = DEFAULTS
    select: str = ""
    says: str = ""


LONG = [stack(16, distance=20.0, tilt=tilt) for tilt in (0.2, 1.0, 2.0)]  # 300 mm
ECHOES = series(each("EchoTime", lambda k: 10.0 * (1 + k // 10)), repeated(3))
B_VALUES = series(each("DiffusionBValue", lambda k: 1000.0 * (k % 2)), repeated(2, interleaved=True))
TIMES = series(each("TemporalPositionIdentifier", lambda k: 1 + k // 10), repeated(4))
DIRECTIONS = series(each("DiffusionBValue", lambda k: 0.0 if k < 10 else 1000.0), repeated(4))
MAGNITUDE_AND_PHASE = series(
    both(
        each("EchoTime", lambda k: 5.0 * (1 + k // 20)),
        each("ImageType", lambda k: ["ORIGINAL", "PRIMARY", "MP"[k // 10 % 2]]),
    ),
    repeated(4),
)
MISSING = [position for k, position in enumerate(stack()) if k not in (4, 5)]
TILTED, TILT_AND_UNEVEN = stack(12, tilt=15), uneven(tilt=18.5)
STRAIGHTEN, EVEN = SiteData(gantry_tilt="resample"), SiteData(nonuniform="resample")
ALLOW = SiteData(burned_in="allow")
BOTH = SiteData(gantry_tilt="resample", nonuniform="resample")

SERIES: dict[str, Difficult] = {
    "axial": Difficult(series()),
    "sagittal": Difficult(series(axes=SAGITTAL)),
    "coronal": Difficult(series(axes=CORONAL)),
    "double oblique": Difficult(series(axes=oblique())),
    "descending InstanceNumber": Difficult(series(each("InstanceNumber", lambda k: 10 - k))),
    "InstanceNumber shuffled": Difficult(series(each("InstanceNumber", lambda k: 1 + k * 7 % 10))),
    "no InstanceNumber": Difficult(series(put(InstanceNumber=None))),
    "wrong SliceLocation and SliceThickness": Difficult(
        series(both(each("SliceLocation", lambda k: -k), put(SliceThickness=1)))
    ),
    "one slice missing": Difficult(
        series(positions=stack()[:4] + stack()[5:]),
        "DCM-MISSING-SLICES",
        says="1 between 37.50 and 42.50 mm (expected every 2.5",
    ),
    "two slices missing": Difficult(series(positions=MISSING), "DCM-MISSING-SLICES", says="8 of 10 present"),
    "slices missing, uneven spacing allowed": Difficult(series(positions=MISSING), "DCM-MISSING-SLICES", settings=EVEN),
    "same file twice": Difficult(identical_copy, warnings=("DCM-DUP-COPY",)),
    "same position, other UID": Difficult(same_position, "DCM-DUP-POSITION", says="first at 40.00 mm"),
    "same UID, other file": Difficult(same_uid, "DCM-DUP-UID"),
    "spacing 2.5 then 5 mm": Difficult(series(positions=uneven()), "DCM-SPACING", says="2.5 to 5 mm"),
    "one very wide gap": Difficult(
        series(positions=[*stack(8), *stack(8, origin=(-12.0, 8.0, 91.2))]), "DCM-SPACING", settings=EVEN, says="too wide"
    ),
    "slice spacing increases slowly": Difficult(
        series(positions=[np.array([-12.0, 8.0, 30 + 2.5 * k + 0.11 * max(k - 20, 0)]) for k in range(40)]), "DCM-SPACING"
    ),
    "gantry tilt 15 degrees": Difficult(series(positions=TILTED), "DCM-GANTRY-TILT", says="15.0 degrees"),
    "gantry tilt 0.2 degrees": Difficult(series(positions=LONG[0]), "DCM-GANTRY-TILT", says="by 1.0 mm"),
    "gantry tilt 1 degree": Difficult(series(positions=LONG[1]), "DCM-GANTRY-TILT", says="by 5.2 mm"),
    "gantry tilt 2 degrees": Difficult(series(positions=LONG[2]), "DCM-GANTRY-TILT", says="by 10.5 mm"),
    "two series in a folder": Difficult(two_series, "DCM-SERIES", says="2 series"),
    "localizer inside the series": Difficult(with_localizer, warnings=("DCM-LOCALIZER",)),
    "three planes in one series": Difficult(three_planes, "DCM-ORIENT", says="3 different"),
    "RescaleSlope differs by slice": Difficult(series(slope_by_slice)),
    "RescaleIntercept missing in one slice": Difficult(series(put(3, RescaleIntercept=None)), "DCM-RESCALE"),
    "MONOCHROME1 CT, 16 bit": Difficult(series(put(PhotometricInterpretation="MONOCHROME1"))),
    "signed 12 bit with clean high bits": Difficult(series(signed("-1024", high_bits=True))),
    "signed, no rescale": Difficult(series(signed(None))),
    "CT without RescaleIntercept": Difficult(
        series(both(signed(None), put(Modality="CT", SOPClassUID=CTImageStorage))), warnings=("CT-HU",)
    ),
    "RescaleSlope missing in one slice": Difficult(series(put(3, RescaleSlope=None)), "DCM-RESCALE"),
    "echoes at alternating positions": Difficult(
        series(each("EchoTime", lambda k: 10.0 * (1 + k % 2))),
        "DCM-MULTIVOLUME",
        says="at different positions differ in EchoTime",
    ),
    "inversion times at alternating positions": Difficult(
        series(each("InversionTime", lambda k: (100.0, 900.0)[k % 2])), "DCM-MULTIVOLUME", says="InversionTime (100.0, 900.0)"
    ),
    "flip angles at alternating positions": Difficult(series(each("FlipAngle", lambda k: (5, 30)[k % 2])), "DCM-MULTIVOLUME"),
    "tube voltages at alternating positions": Difficult(series(each("KVP", lambda k: (80, 140)[k % 2])), "DCM-MULTIVOLUME"),
    "kernels at alternating positions": Difficult(
        series(each("ConvolutionKernel", lambda k: ("B30", "B70")[k % 2])), "DCM-MULTIVOLUME", says="by ConvolutionKernel=..."
    ),
    "temporal positions at alternating positions": Difficult(
        series(each("TemporalPositionIdentifier", lambda k: 1 + k % 2)), "DCM-MULTIVOLUME", says="(1, 2)"
    ),
    "temporal positions at uneven positions, which may be resampled": Difficult(
        series(each("TemporalPositionIdentifier", lambda k: 1 + k % 2), positions=uneven()), "DCM-MULTIVOLUME", settings=BOTH
    ),
    "magnitude and phase at alternating positions": Difficult(
        series(each("ImageType", lambda k: ["ORIGINAL", "PRIMARY", "MP"[k % 2]])), "DCM-MULTIVOLUME"
    ),
    "interleaved packages": Difficult(series(each("AcquisitionNumber", lambda k: 1 + k % 2))),
    "iodine map": Difficult(series(put(RescaleType="MGML")), "DCM-RESCALE", says="not Hounsfield units"),
    "iodine at alternating positions": Difficult(series(each("RescaleType", lambda k: ("HU", "MGML")[k % 2])), "DCM-RESCALE"),
    "values in the high bits": Difficult(series(put(BitsStored=12, HighBit=15)), "DCM-HEADER"),
    "a patient id missing in one slice": Difficult(series(put(3, PatientID=None))),
    "two frames of reference": Difficult(series(put(3, FrameOfReferenceUID="1.2.6")), "DCM-REFERENCE", says="2 frames"),
    "one series number in two studies": Difficult(series(put(3, StudyInstanceUID="1.2.4")), "DCM-SERIES"),
    "multi-echo": Difficult(
        ECHOES, "DCM-MULTIVOLUME", says="3 volumes that differ in EchoTime (10.0, 20.0, 30.0). Choose one in column 'select'"
    ),
    "b-values interleaved": Difficult(B_VALUES, "DCM-MULTIVOLUME", says="DiffusionBValue (0.0, 1000.0)"),
    "4-D time series": Difficult(TIMES, "DCM-MULTIVOLUME", says="in TemporalPositionIdentifier (1, 2, 3, 4)"),
    "b0 once, b1000 in three directions": Difficult(DIRECTIONS, "DCM-MULTIVOLUME", says="DiffusionBValue=0.0"),
    "magnitude and phase of two echoes": Difficult(
        MAGNITUDE_AND_PHASE, "DCM-MULTIVOLUME", says="4 volumes that differ in EchoTime (5.0, 10.0) and ImageType."
    ),
    "every image with its own TriggerTime": Difficult(
        series(each("TriggerTime", lambda k: 3.5 * k), repeated(2)), "DCM-DUP-POSITION", says="10 slice position(s)"
    ),
    "one image of another matrix size": Difficult(two_sizes, "DCM-MATRIX", says="9 of 24x20, 1 of 12x20"),
    "PixelSpacing differs in one image": Difficult(series(zoomed), "DCM-PIXELSPACING", says="1.25 to 2 mm"),
    "IOP noise 1e-6": Difficult(series(noise("ImageOrientationPatient", 1e-6))),
    "IPP noise 1e-3 mm": Difficult(series(noise("ImagePositionPatient", 1e-3))),
    "IOP without unit vectors": Difficult(series(put(4, ImageOrientationPatient=[1, 0, 0, 0.1, 1, 0])), "DCM-IOP"),
    "IPP of two numbers": Difficult(series(put(4, ImagePositionPatient=[1.0, 2.0])), "DCM-HEADER"),
    "in-plane jump of 8 mm": Difficult(series(jump), "DCM-SHIFT", says="in the image plane"),
    "no IPP/IOP": Difficult(
        series(put(ImagePositionPatient=None, ImageOrientationPatient=None)), "DCM-NO-GEOMETRY", says="10 of 10 images"
    ),
    "no FrameOfReferenceUID": Difficult(series(put(FrameOfReferenceUID=None))),
    "README.txt and Thumbs.db in the folder": Difficult(other_files),
    "pixel data of one image too short": Difficult(series(truncated_pixels), "DCM-TRUNCATED", says="of 1 image"),
    "one truncated file": Difficult(truncated_file, "DCM-TRUNCATED", says="of 1 image"),
    "no 128-byte preamble": Difficult(headerless, "DCM-READ"),
    "no 128-byte preamble, allowed": Difficult(headerless, settings=SiteData(allow_headerless=True)),
    "RLE compressed": Difficult(rle),
    "JPEG Extended (12 bit)": Difficult(no_codec, "DCM-CODEC", says="'JPEG Extended (12 bit)'"),
    "legacy enhanced CT": Difficult(enhanced(LegacyConvertedEnhancedCTImageStorage)),
    "enhanced CT": Difficult(enhanced()),
    "enhanced MR": Difficult(enhanced(EnhancedMRImageStorage)),
    "enhanced MR, one frame per object": Difficult(single_frames),
    "enhanced MR, several echoes": Difficult(
        enhanced(EnhancedMRImageStorage, repeated(2, interleaved=True), echo_groups),
        "DCM-MULTIVOLUME",
        says="EchoTime (10.0, 20.0)",
    ),
    "enhanced MR, one echo selected": Difficult(
        enhanced(EnhancedMRImageStorage, repeated(2, interleaved=True), echo_groups), select="EffectiveEchoTime=20"
    ),
    "legacy enhanced, one echo selected": Difficult(
        enhanced(LegacyConvertedEnhancedCTImageStorage, repeated(2), legacy_echoes), select="EchoTime=10"
    ),
    "enhanced CT, tilted": Difficult(enhanced(positions=TILTED), "DCM-GANTRY-TILT", says="15.0 degrees"),
    "enhanced CT in three files": Difficult(in_parts(2, 0, 1)),
    "enhanced CT in three files, one missing": Difficult(in_parts(0, 2), "DCM-MISSING-SLICES", says="3 files, of which 2"),
    "one of three parts of an enhanced CT": Difficult(in_parts(1), "DCM-MISSING-SLICES", settings=SiteData(min_slices=4)),
    "enhanced CT among slices": Difficult(mixed_frames, "DCM-MIXED-FRAMES", says="sop_instance"),
    "Siemens mosaic": Difficult(series(put(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])), "DCM-MOSAIC"),
    "colour": Difficult(series(colour), "DCM-COLOR"),
    "palette colour": Difficult(series(put(PhotometricInterpretation="PALETTE COLOR")), "DCM-COLOR"),
    "secondary capture": Difficult(series(secondary), "DCM-SOPCLASS", says="secondary capture"),
    "one report in the series": Difficult(series(put(4, Modality="SR")), "DCM-SOPCLASS", says="1 of 10"),
    "text burned into one slice": Difficult(
        series(put(4, BurnedInAnnotation="YES")), "BURNED-IN", settings=SiteData(burned_in="allow")
    ),
    "few slices": Difficult(series(positions=stack(7)), "DCM-FEW-SLICES", says="only 7 slice(s); at least 8"),
    "gantry tilt resampled": Difficult(series(positions=TILTED), warnings=("DCM-STRAIGHTENED",), settings=STRAIGHTEN),
    "backward oblique tilt resampled": Difficult(
        series(positions=stack(12, oblique(), tilt=-10), axes=oblique()), warnings=("DCM-STRAIGHTENED",), settings=STRAIGHTEN
    ),
    "uneven spacing resampled": Difficult(series(positions=uneven()), warnings=("DCM-RESAMPLED",), settings=EVEN),
    "tilted and uneven, only uneven allowed": Difficult(series(positions=TILT_AND_UNEVEN), "DCM-GANTRY-TILT", settings=EVEN),
    "tilted and uneven, only tilt allowed": Difficult(series(positions=TILT_AND_UNEVEN), "DCM-SPACING", settings=STRAIGHTEN),
    "tilted and uneven, both allowed": Difficult(
        series(positions=TILT_AND_UNEVEN), warnings=("DCM-RESAMPLED", "DCM-STRAIGHTENED"), settings=BOTH
    ),
    "echo selected": Difficult(ECHOES, select="EchoTime=20"),
    "b-value selected": Difficult(B_VALUES, select=" diffusionbvalue = 1000 "),
    "b0 selected": Difficult(DIRECTIONS, select="DiffusionBValue=0"),
    "b1000 selected": Difficult(DIRECTIONS, "DCM-DUP-POSITION", select="DiffusionBValue=1000"),
    "temporal position selected": Difficult(TIMES, select="TemporalPositionIdentifier=3"),
    "phase of an echo selected": Difficult(MAGNITUDE_AND_PHASE, select="EchoTime=5; ImageType=P"),
    "echo selected, phase not": Difficult(MAGNITUDE_AND_PHASE, "DCM-MULTIVOLUME", select="EchoTime=5", says="in ImageType."),
    "series selected": Difficult(two_series, select="SeriesInstanceUID=1.2.840.2"),
    "orientation selected": Difficult(three_planes, select="orientation=coronal"),
    "matrix selected": Difficult(two_sizes, select="rows=24; columns=20"),
    "unknown echo": Difficult(ECHOES, "INDEX-SELECT", select="EchoTime=15", says="Available are 10.0, 20.0, 30.0"),
    "unknown key": Difficult(ECHOES, "INDEX-SELECT", select="Echo=10", says="Allowed are SeriesInstanceUID, sop_instance"),
    "unknown orientation": Difficult(three_planes, "INDEX-SELECT", select="orientation=transversal", says="axial"),
}
