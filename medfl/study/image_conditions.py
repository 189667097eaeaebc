"""Conditions on the headers of images: ``BodyPartExamined=CHEST; ViewPosition=PA|AP`` says which images are meant."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

CONDITION_KEYWORDS = (
    "SeriesDescription",
    "ProtocolName",
    "BodyPartExamined",
    "ViewPosition",
    "Laterality",
    "PresentationIntentType",
    "ImageType",
)
MISSING = "none"  # as a value: images without the attribute
_KEYWORD_BY_NAME = {name.casefold(): name for name in CONDITION_KEYWORDS} | {"imagelaterality": "Laterality"}


@dataclass(frozen=True)
class ImageCondition:
    """One condition: an attribute, and the values of it that are meant.

    Parameters
    ----------
    keyword : str
        One of `CONDITION_KEYWORDS`.
    values : tuple of str
        Values, in which ``*`` stands for any characters; ``none`` means the images without the attribute.
    """

    keyword: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.keyword}={'|'.join(self.values)}"

    def matches(self, texts: Sequence[str]) -> bool:
        """Return whether one of the values of an attribute is meant; case, blanks and underscores do not count.

        Examples
        --------
        >>> ImageCondition("SeriesDescription", ("t1*gd",)).matches(["T1 ax + Gd"])
        True
        """
        folded = list(filter(None, map(_fold, texts)))
        if not folded:
            return MISSING in map(_fold, self.values)
        return any(_pattern(value).fullmatch(text) for value in self.values for text in folded)


def parse_conditions(text: str) -> tuple[ImageCondition, ...]:
    """Return the conditions that a text holds, in its order.

    Parameters
    ----------
    text : str
        ``keyword=value``, several values joined by ``|`` and several conditions by semicolons; empty: every image is meant.

    Raises
    ------
    ValueError
        When a keyword is unknown or named twice, or a value is missing.

    Examples
    --------
    >>> [str(condition) for condition in parse_conditions("viewposition = PA | AP; BodyPartExamined=CHEST")]
    ['ViewPosition=PA|AP', 'BodyPartExamined=CHEST']
    """
    conditions: dict[str, ImageCondition] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, _, cell = part.partition("=")
        keyword = _KEYWORD_BY_NAME.get(name.strip().casefold())
        if keyword is None:
            raise ValueError(f'needs conditions such as "ViewPosition=PA|AP", on {", ".join(CONDITION_KEYWORDS)}')
        values = tuple(value.strip() for value in cell.split("|"))
        if not all(map(_fold, values)):
            raise ValueError(f"has a condition on {keyword} without a value")
        if keyword in conditions:
            raise ValueError(f"names {keyword} twice; join its values by |")
        conditions[keyword] = ImageCondition(keyword, values)
    return tuple(conditions.values())


def _check_conditions(text: str) -> str:
    parse_conditions(text)
    return text


ImageConditions = Annotated[str, AfterValidator(_check_conditions)]


def _fold(text: str) -> str:
    return re.sub(r"[\s_]+", "", unicodedata.normalize("NFC", text)).casefold()


def _pattern(value: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, _fold(value).split("*"))), re.DOTALL)
