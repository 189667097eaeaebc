"""Fixtures of the tests of the Python API."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from medfl.api import OpenRun, simulate
from medfl.data.synthetic.hospitals import make_nodule_images
from tests.studies import NODULE_STUDY


@pytest.fixture(scope="package")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenRun]:
    """Return a run of two arms, whose sites keep the last layer for themselves."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "pyproject.toml").write_text(NODULE_STUDY + '[tool.flwr.app.config.personal]\nlayers = "head"\n')
    data = make_nodule_images(folder / "hospitals", hospitals=2, patients=12, seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDFL_STORE", str(folder / "store"))
        yield simulate(folder, data, folder / "runs", arms="federated,local", workers=2)


@pytest.fixture(autouse=True)
def _store_of_the_run(finished: OpenRun, _own_store: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tests find what the sites of the run keep: each test has an empty store otherwise."""
    monkeypatch.setenv("MEDFL_STORE", str(finished.path.parents[2] / "store"))
