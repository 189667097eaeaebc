"""CT windows by name: the range of Hounsfield units that is kept."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator

from medfl.schema import Floats

# lower and upper value in HU. Lung and abdomen as in papers on segmentation; the others from width and level in
# clinical use, level -/+ width / 2: bone 1800/400, brain 80/40, mediastinum 350/50.
WINDOWS: dict[str, tuple[float, float]] = {
    "abdomen": (-160.0, 240.0),
    "bone": (-500.0, 1300.0),
    "brain": (0.0, 80.0),
    "lung": (-1000.0, 400.0),
    "mediastinum": (-125.0, 225.0),
}


def _resolve_window(value: object) -> object:
    word = value.strip() if isinstance(value, str) else ""
    if not word[:1].isalpha():
        return value
    if word.casefold() not in WINDOWS:
        raise ValueError(f'needs a lower and an upper value, as "-160,240", or one of {", ".join(WINDOWS)}')
    return WINDOWS[word.casefold()]


Window = Annotated[Floats, BeforeValidator(_resolve_window)]  # "lung", or "-1000,400"; read as two numbers
