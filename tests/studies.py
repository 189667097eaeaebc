"""Texts of small studies, for tests that need the file; `medfl.testing.sites.make_study` makes a study without one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_HEAD = """\
[project]
name = "{name}"
version = "1.0.0"
[tool.flwr.app]
publisher = "medfl"
[tool.flwr.app.components]
serverapp = "medfl.server_app:app"
clientapp = "medfl.client_app:app"
[tool.flwr.app.config]
name = "{name}"
"""


def study_text(name: str, config: str) -> str:
    """Return the pyproject.toml of a study.

    Parameters
    ----------
    name : str
        Name of the study.
    config : str
        TOML of the rest of its configuration; a table is headed by its name there, as ``[task]``.
    """
    return _HEAD.format(name=name) + re.sub(r"^\[", "[tool.flwr.app.config.", config.lstrip("\n"), flags=re.MULTILINE)


def as_before_arms_moved(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the study.json of a run as versions wrote it in which the study held all tables, and the simulation the arms."""
    study = dict(record["study"])
    simulation = {**record["simulation"], "arms": study.pop("arms")}
    beside = {key: value for key, value in record.items() if key not in ("simulation", "server")}
    return {**beside, "study": {**study, "simulation": simulation, "server": record["server"]}}


NODULE_STUDY = study_text(
    "nodule",
    """
seed = 3
rounds = 2
arms = "federated"
[task]
kind = "classification"
dimension = 2
modality = "XR"
classes = "clear,nodule"
[preprocessing]
size = "32,32"
[splits]
validation = 0.2
test = 0.2
[network]
name = "cnn"
channels = "4,8"
residual-units = 0
[loss]
name = "cross-entropy"
[training]
batch-size = 8
[augmentation]
flip = "0"
[server]
out = ""
run = ""
resume = false
enrolled = ""
[simulation]
data = ""
store = ""
""",
)
