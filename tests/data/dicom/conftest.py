"""Factories of scenes, on which tests draw labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data.dicom.phantom import AXIAL
from tests.data.dicom.rtstruct_scene import Axes, RtstructScene
from tests.data.dicom.seg_scene import CLASSES, SegScene


@pytest.fixture
def make_seg_scene(tmp_path: Path, make_study: Any, make_site: Any) -> Callable[..., SegScene]:
    """Return a factory of scenes for SEG; `data` goes into the table ``data`` of the site, other options into the series."""

    def make(axes: Axes = AXIAL, data: dict[str, Any] | None = None, **options: Any) -> SegScene:
        study = make_study(task__modality="CT", task__classes=CLASSES)
        return SegScene(tmp_path, study, make_site(tmp_path, **(data or {})), axes, **options)

    return make


@pytest.fixture
def make_rtstruct_scene(tmp_path: Path, make_study: Any, make_site: Any) -> Callable[..., RtstructScene]:
    """Return a factory of scenes for RTSTRUCT, with the same arguments."""

    def make(axes: Axes = AXIAL, data: dict[str, Any] | None = None, **options: Any) -> RtstructScene:
        study = make_study(task__modality="CT", task__classes=CLASSES)
        return RtstructScene(tmp_path, study, make_site(tmp_path, **(data or {})), axes, **options)

    return make
