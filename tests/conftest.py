"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
os.environ["MEDFL_SIMULATION"] = "1"  # tests call the halves of a client in their own process


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep prepared data of tests out of the user's cache."""
    monkeypatch.setenv("MEDFL_STORE", str(tmp_path / "store"))


NODULE_STUDY = """
[project]
name = "nodule"
version = "1.0.0"
[tool.flwr.app]
publisher = "medfl"
[tool.flwr.app.components]
serverapp = "medfl.server_app:app"
clientapp = "medfl.client_app:app"
[tool.flwr.app.config]
name = "nodule"
seed = 3
rounds = 2
[tool.flwr.app.config.task]
kind = "classification"
dimension = 2
modality = "XR"
classes = "clear,nodule"
[tool.flwr.app.config.preprocessing]
size = "32,32"
[tool.flwr.app.config.splits]
validation = 0.2
test = 0.2
[tool.flwr.app.config.network]
name = "cnn"
channels = "4,8"
residual-units = 0
[tool.flwr.app.config.loss]
name = "cross-entropy"
[tool.flwr.app.config.training]
batch-size = 8
[tool.flwr.app.config.augmentation]
flip = "0"
[tool.flwr.app.config.server]
out = ""
run = ""
resume = false
enrolled = ""
[tool.flwr.app.config.simulation]
data = ""
store = ""
arms = "federated"
"""


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
def real_data() -> Path:
    """Return the folder of real images, or skip."""
    folder = os.environ.get("MEDFL_REAL_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("MEDFL_REAL_DATA does not name a folder with real images")
    return Path(folder)
