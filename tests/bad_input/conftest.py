"""Fixtures of the tests of bad input."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfl.study import Study, read_study
from tests.bad_input.damage import STUDY
from tests.bad_input.hospital import Hospital


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    """Return a hospital without any case yet."""
    return Hospital(tmp_path / "north")


@pytest.fixture
def study_folder(tmp_path: Path) -> Path:
    """Return the folder of a study of masks."""
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "pyproject.toml").write_text(STUDY)
    return tmp_path / "study"


@pytest.fixture
def study(study_folder: Path) -> Study:
    """Return that study."""
    return read_study(study_folder)
