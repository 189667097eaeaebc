"""Made-up runs for the report, as fixtures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.report.made_runs import SITES, Maker, complete, study_of


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Maker]:
    """Begin a made-up run: ``make("segmentation", "background,tumour")``."""

    def begin(kind: str, classes: str, *, sites: Mapping[str, tuple[int, int, int]] = SITES, **study: Any) -> Maker:
        return Maker(tmp_path / "runs", study_of(kind, classes, **study), sites)

    return begin


@pytest.fixture
def whole_run() -> Callable[[Maker], Path]:
    """Return a function that writes a whole run with both arms, and returns its folder."""
    return complete
