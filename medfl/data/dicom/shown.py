"""What an image shows, by its header: body part, view, side, and whether it is meant for people or for programs."""

from __future__ import annotations

from medfl.data.dicom.headers import Header

FOR_PROCESSING = "FOR PROCESSING"  # PresentationIntentType, PS3.3 C.8.11.1: raw values, made for programs
_FOR_PRESENTATION = "FOR PRESENTATION"
_LOCALIZER = "LOCALIZER"  # value 3 of ImageType, PS3.3 C.7.6.1.1.2
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_PROCESSING_CLASSES = tuple(_STORAGE + part for part in ("1.1.1", "1.2.1", "1.3.1", "13.1.5"))  # PS3.4 B.5
_PRESENTATION_CLASSES = tuple(_STORAGE + part for part in ("1.1", "1.2", "1.3", "13.1.4"))


def shown_values(header: Header, keyword: str) -> tuple[str, ...]:
    """Return what an image has for a keyword of `medfl.study.image_conditions.CONDITION_KEYWORDS`; empty when it has nothing.

    Parameters
    ----------
    header : Header
        Header of the image.
    keyword : str
        ``"Laterality"`` is also ImageLaterality: of two that contradict each other, none counts. PresentationIntentType is also
        told by the SOP class, and ImageType has its single values and all of them joined by backslashes.
    """
    if keyword == "PresentationIntentType":
        intent = _presentation_intent(header)
        return (intent,) if intent else ()
    if keyword == "Laterality":
        sides = {header.text(name).upper() for name in ("ImageLaterality", "Laterality")} - {""}
        return tuple(sides) if len(sides) == 1 else ()
    text = header.text(keyword)
    if not text:
        return ()
    return (text, *text.split("\\")) if keyword == "ImageType" else (text,)


def is_localizer(header: Header) -> bool:
    """Return whether an image is a scout, made to plan others."""
    return _LOCALIZER in header.image_type


def _presentation_intent(header: Header) -> str:
    """Return the intent; raw values by either the attribute or the SOP class are raw."""
    stated, sop_class = " ".join(header.text("PresentationIntentType").upper().split()), header.text("SOPClassUID")
    if sop_class in _PROCESSING_CLASSES or stated == FOR_PROCESSING:
        return FOR_PROCESSING
    return stated or (_FOR_PRESENTATION if sop_class in _PRESENTATION_CLASSES else "")
