"""The table ``task`` of a study: what the model does, on which images."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from medfl.schema import Section, Strings
from medfl.study.image_conditions import ImageConditions
from medfl.system.spelling import are_distinct, parse_whole_number

Kind = Literal["segmentation", "classification"]
Modality = Literal["MR", "CT", "XR", "US"]  # DICOM's Modality, with XR for every projection X-ray (CR, DX)

MAX_MASK_CLASSES = 256  # a mask is stored as uint8


def _parse_channels(value: object) -> object:
    """Return the number of channels, or their names; a number above 1 occurs in records of older studies."""
    if isinstance(value, str):
        value = int(value) if value.strip().isdigit() else tuple(part.strip() for part in value.split(","))
    if isinstance(value, int) and value < 1:
        raise ValueError("must be at least 1")
    if isinstance(value, tuple) and (not all(value) or len({name.casefold() for name in value}) != len(value)):
        raise ValueError('needs a name for each channel, all of them different, for example "T1,FLAIR"')
    return value


Channels = Annotated[Annotated[int, Field(ge=1)] | tuple[str, ...], BeforeValidator(_parse_channels)]


class Task(Section):
    """The task: its kind, and the classes in the order of their label values."""

    kind: Kind
    dimension: Literal[2, 3]
    modality: Modality
    classes: Strings  # segmentation: the first is the background; classification: the label texts
    channels: Channels = 1  # names of the image channels (MR sequences) in order, "T1,FLAIR"; 1: a single one without a name
    labels: Annotated[  # classification: what a number in a table is, a class of that name or its position, counted from 0
        Literal["names", "positions"], Field(exclude_if=lambda value: value == "names")  # an older study keeps its hash
    ] = "names"
    select: Annotated[  # images of the modality that are meant, by DICOM headers: "BodyPartExamined=CHEST; ViewPosition=PA|AP"
        ImageConditions, Field(exclude_if=lambda value: not value)  # likewise
    ] = ""

    codes: Annotated[  # SNOMED CT code and meaning of each class but the background: "10200004:Liver,52988006:Lesion"
        Strings, Field(exclude_if=lambda value: not value)  # likewise
    ] = ()

    @property
    def segment_codes(self) -> tuple[tuple[str, str], ...]:
        """SNOMED CT code and meaning of each class but the background; empty where the study names none."""
        parts = (text.partition(":") for text in self.codes)
        return tuple((code.strip(), meaning.strip()) for code, _, meaning in parts)

    @property
    def channel_count(self) -> int:
        """Number of image channels."""
        return self.channels if isinstance(self.channels, int) else len(self.channels)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the image channels in order; empty when they have none."""
        return () if isinstance(self.channels, int) else self.channels

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        if len(self.classes) < 2:
            raise ValueError("'classes' needs at least two names, for example \"background,liver\"")
        if not are_distinct(self.classes):
            raise ValueError("'classes' names one class twice: case and blanks do not count, and 1 and 1.0 are one number")
        if self.kind == "segmentation" and len(self.classes) > MAX_MASK_CLASSES:
            limit = f"a mask holds at most {MAX_MASK_CLASSES}, the background among them"
            raise ValueError(f"'classes' names {len(self.classes)} classes, and {limit}; leave out or join some")
        if self.codes and (self.kind != "segmentation" or len(self.codes) != len(self.classes) - 1):
            raise ValueError("'codes' is for segmentation, and needs one for each class but the background")
        if not all(code.isascii() and code.isdigit() and meaning for code, meaning in self.segment_codes):
            raise ValueError("'codes' needs SNOMED CT codes with their meanings, for example \"10200004:Liver\"")
        if self.labels == "positions" and any(parse_whole_number(name) is not None for name in self.classes):
            raise ValueError("labels = 'positions' needs 'classes' that are no numbers: a number would be a name, too")
        if self.labels == "positions" and self.kind == "segmentation":
            raise ValueError("labels = 'positions' is for classification: values of masks are positions as it is")
        return self

    @property
    def foreground(self) -> tuple[str, ...]:
        """Classes that are scored: all but the background in segmentation, all in classification."""
        return self.classes[1:] if self.kind == "segmentation" else self.classes
