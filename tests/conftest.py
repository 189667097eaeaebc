"""Fixtures and settings of all tests."""

from __future__ import annotations

import os
import signal
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

os.environ.pop("COLUMNS", None)  # rich keeps for good the width that it finds when a console is made: no test's, nor a shell's
import medfl.cli.console  # noqa: F401
from tests.studies import NODULE_STUDY

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
os.environ["MEDFL_SIMULATION"] = "1"  # tests call client algorithms in their own process
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a script's shell starts background jobs so; tests press Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep prepared data of tests out of the user's cache."""
    monkeypatch.setenv("MEDFL_STORE", str(tmp_path / "store"))


@pytest.fixture
def nodule_study(tmp_path: Path) -> Path:
    """Return the folder of a study that runs in seconds."""
    folder = tmp_path / "nodule"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(NODULE_STUDY)
    return folder


@pytest.fixture
def nodule_hospitals(tmp_path: Path) -> Path:
    """Return a folder with three small hospitals for it."""
    from medfl.data.synthetic.hospitals import make_nodule_images

    return make_nodule_images(tmp_path / "hospitals", hospitals=3, patients=12, seed=1)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often each text of a study is parsed."""
    counted: Counter[str] = Counter()
    parse = tomllib.loads

    def counting_parse(text: str, **options: Any) -> dict[str, Any]:
        if "tool.flwr.app" in text:
            counted[text] += 1
        return parse(text, **options)

    monkeypatch.setattr(tomllib, "loads", counting_parse)
    return counted


@pytest.fixture
def real_data() -> Path:
    """Return the folder of real images, or skip."""
    folder = os.environ.get("MEDFL_REAL_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("MEDFL_REAL_DATA does not name a folder with real images")
    return Path(folder)
