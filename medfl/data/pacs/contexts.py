"""Presentation contexts that medfl offers a PACS: SOP classes and transfer syntaxes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pynetdicom.presentation import PresentationContext

MAX_CONTEXTS = 127  # context IDs are the odd numbers below 256 (PS3.8 9.3.2.2); one of the 128 is for C-GET itself
_SOP_CLASSES = {
    "CR": ("ComputedRadiographyImageStorage",),
    "CT": ("CTImageStorage", "EnhancedCTImageStorage", "LegacyConvertedEnhancedCTImageStorage"),
    "DX": ("DigitalXRayImageStorageForPresentation", "DigitalXRayImageStorageForProcessing"),
    "MG": (
        "DigitalMammographyXRayImageStorageForPresentation",
        "DigitalMammographyXRayImageStorageForProcessing",
        "BreastTomosynthesisImageStorage",
    ),
    "MR": ("MRImageStorage", "EnhancedMRImageStorage", "LegacyConvertedEnhancedMRImageStorage"),
    "NM": ("NuclearMedicineImageStorage",),
    "OT": ("SecondaryCaptureImageStorage",),
    "PT": ("PositronEmissionTomographyImageStorage", "EnhancedPETImageStorage", "LegacyConvertedEnhancedPETImageStorage"),
    "RTSTRUCT": ("RTStructureSetStorage",),
    "SEG": ("SegmentationStorage", "LabelMapSegmentationStorage"),
    "US": ("UltrasoundImageStorage", "UltrasoundMultiFrameImageStorage", "EnhancedUSVolumeStorage"),
    "XA": ("XRayAngiographicImageStorage", "EnhancedXAImageStorage", "XRay3DAngiographicImageStorage"),
}
UNCOMPRESSED = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")  # explicit and implicit VR little endian
_COMPRESSED = (  # one context each, commonest first: within one context the PACS could choose one that the image is not in
    "1.2.840.10008.1.2.4.70",  # JPEG lossless, first-order prediction
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.5",  # RLE
    "1.2.840.10008.1.2.4.50",  # JPEG baseline
    "1.2.840.10008.1.2.4.57",  # JPEG lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.51",  # JPEG extended
)


def storage_contexts(modality: str) -> list[PresentationContext]:
    """Return the presentation contexts with which C-GET offers to receive images.

    Parameters
    ----------
    modality : str
        Modality of the series. It only decides which SOP classes may come compressed: often enough, the modality in a
        header does not fit the SOP class.

    Returns
    -------
    list of PresentationContext
        At most `MAX_CONTEXTS` contexts; first come the uncompressed transfer syntaxes of every SOP class that medfl knows.
    """
    from pynetdicom import sop_class
    from pynetdicom.presentation import build_context

    def uids(names: Iterable[str]) -> list[str]:
        return [getattr(sop_class, name) for name in names]

    every = uids(name for names in _SOP_CLASSES.values() for name in names)
    of_modality = uids(_SOP_CLASSES.get(modality, ())) or every
    compressed = [build_context(uid, syntax) for syntax in _COMPRESSED for uid in of_modality]
    return [*(build_context(uid, list(UNCOMPRESSED)) for uid in every), *compressed][:MAX_CONTEXTS]
