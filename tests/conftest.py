"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep prepared data of tests out of the user's cache."""
    monkeypatch.setenv("MEDFL_STORE", str(tmp_path / "store"))


@pytest.fixture
def real_data() -> Path:
    """Return the folder of real images, or skip."""
    folder = os.environ.get("MEDFL_REAL_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("MEDFL_REAL_DATA does not name a folder with real images")
    return Path(folder)
