"""An empty data folder, and a reader of the cohort of the DICOM in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medfl.data.cases import Cohort
from medfl.data.cohort import read_cohort

Read = Callable[..., Cohort]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def read(root: Path, make_site: Any, make_study: Any) -> Read:
    """Return a reader of the site's cohort for a study of the classes x and y; the patients are named by their order."""

    def read_it(patients: str = "ab", **data: Any) -> Cohort:
        rows = "".join(f"{name},{'xy'[n % 2]}\n" for n, name in enumerate(patients))
        (root / "index.csv").write_text("patient,label\n" + rows)
        study = make_study(task__kind="classification", task__classes="x,y", task__modality="CT")
        return read_cohort(make_site(root, **{"layout": "dicom", **data}), study)

    return read_it
