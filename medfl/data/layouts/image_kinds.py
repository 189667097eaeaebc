"""Kinds of DICOM objects: an image of a study's modality, one of another, or what a PACS exports beside images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from medfl.data.dicom.headers import MODALITY_BY_CLASS, NON_IMAGE_MODALITIES, PROJECTION_MODALITIES
from medfl.data.dicom.references import LABEL_MODALITIES
from medfl.data.dicom.sop_classes import is_non_image_class, is_private_class, is_secondary_capture
from medfl.data.index.file_facts import IndexedFile
from medfl.study.task import Modality

ObjectKind = Literal["label", "no image", "screen", "image", "doubtful", "other modality"]

_MODALITIES: dict[Modality | None, tuple[str, ...]] = {"MR": ("MR",), "CT": ("CT",), "US": ("US",), "XR": PROJECTION_MODALITIES}
_OTHER = "OT"  # a Modality that says nothing: the SOP class tells more
_LOCALIZER = "LOCALIZER"  # value 3 of ImageType, PS3.3 C.8.2.1.1.1 and C.8.3.1.1.1


def object_kind(item: IndexedFile, modality: Modality | None) -> ObjectKind:
    """Return what a DICOM object is to a study.

    Parameters
    ----------
    item : IndexedFile
        A readable DICOM file.
    modality : str, optional
        Modality of the study; without one, images of every modality are images of the study.

    Returns
    -------
    str
        ``"doubtful"`` is an image without a Modality to rely on; where there is none, the index has that of its SOP class;
        ``"screen"`` a secondary capture of the study's modality, such as a dose page.
    """
    sop_class = item.text("SOPClassUID")
    if item.modality in LABEL_MODALITIES:
        return "label" if item.references else "no image"
    if item.modality in NON_IMAGE_MODALITIES or is_non_image_class(sop_class):
        return "no image"
    if is_private_class(sop_class) and not item.header.text("Rows"):
        return "no image"  # raw data and settings of a scanner, which bear the modality of its images
    if not item.modality or (item.modality == _OTHER and is_own_class(item, modality)):
        return "doubtful"
    if modality is not None and item.modality not in _MODALITIES[modality]:
        return "other modality"
    return "screen" if is_secondary_capture(sop_class) else "image"


def is_own_class(item: IndexedFile, modality: Modality | None) -> bool:
    """Return whether the SOP class of an image is one of the modality of a study, whatever its Modality says."""
    return MODALITY_BY_CLASS.get(item.text("SOPClassUID"), "") in _MODALITIES.get(modality, ())


def is_scout(item: IndexedFile) -> bool:
    """Return whether an image is a localizer."""
    return _LOCALIZER in item.header.image_type


def is_set_aside(items: Sequence[IndexedFile], modality: Modality | None, *, screens: bool) -> bool:
    """Return whether a series holds nothing but scouts and pages of a screen; with `screens`, those are images."""
    return all((not screens and object_kind(item, modality) == "screen") or is_scout(item) for item in items)
