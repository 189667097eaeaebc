"""Fixtures of the tests of the Python API."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfl.api import OpenRun, simulate
from medfl.data.synthetic.hospitals import make_nodule_images
from tests.studies import NODULE_STUDY


@pytest.fixture(scope="package")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[OpenRun, Path]:
    folder = tmp_path_factory.mktemp("finished")
    (folder / "pyproject.toml").write_text(NODULE_STUDY + '[tool.flwr.app.config.personal]\nlayers = "head"\n')
    data = make_nodule_images(folder / "hospitals", hospitals=2, patients=12, seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDFL_STORE", str(folder / "store"))
        run = simulate(folder, data, folder / "runs", arms="federated,local", workers=2)
    return run, folder / "store"


@pytest.fixture
def finished(_finished: tuple[OpenRun, Path], _own_store: None, monkeypatch: pytest.MonkeyPatch) -> OpenRun:
    """Return a run of two arms, whose sites keep the last layer for themselves, with their store."""
    run, store = _finished
    monkeypatch.setenv("MEDFL_STORE", str(store))
    return run
