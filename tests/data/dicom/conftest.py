"""Scenes on which tests draw segmentations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data.dicom.phantom import AXIAL
from tests.data.dicom.seg_scene import CLASSES, Scene


@pytest.fixture
def make_scene(tmp_path: Path, make_study: Any, make_site: Any) -> Callable[..., Scene]:
    """Return a factory of scenes; `data` goes into the table ``data`` of the site, other options into the series."""

    def make(axes: Any = AXIAL, classes: str = CLASSES, data: dict[str, Any] | None = None, **options: Any) -> Scene:
        study = make_study(task__modality="CT", task__classes=classes)
        return Scene(tmp_path, study, make_site(tmp_path, **(data or {})), axes, **options)

    return make
