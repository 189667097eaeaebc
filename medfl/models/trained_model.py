"""A trained model with all that it takes to use it, from a run, an export, or a single file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from safetensors import numpy as safetensors
from torch import nn

from medfl.clients.networks.arrays import check_layout, load_arrays
from medfl.clients.networks.network_builders import build_network, build_network_without_memory
from medfl.data.predictions import ModelOrigin
from medfl.errors import ExchangeError, RunError
from medfl.messages.models import Tensors
from medfl.models.run_models import Which, find_arrays
from medfl.runs.model_file import read_model_file
from medfl.runs.run_folder import STUDY_JSON, Run
from medfl.study import Study

EXPORTED_MODEL = Path("models", "model.safetensors")  # in the folder of an export


@dataclass(frozen=True)
class TrainedModel:
    """A model and the study that trained it.

    Parameters
    ----------
    study : Study
        Gives network, classes and preprocessing.
    arrays : mapping of str to ndarray
        Distinct tensors of the network, in its own order.
    origin : ModelOrigin
        Names the model in what it predicts.
    """

    study: Study
    arrays: Tensors
    origin: ModelOrigin

    def build(self) -> nn.Module:
        """Build the network with its weights, on the CPU, in evaluation mode.

        Raises
        ------
        ExchangeError
            ``MODEL-MISMATCH`` when the weights are of another network, ``MODEL-NONFINITE``.
        """
        net = build_network(self.study)
        load_arrays(net, self.arrays)
        return net.eval()


def open_model(path: Path, *, arm: str = "federated", site: str | None = None, which: Which = "best") -> TrainedModel:
    """Open a trained model.

    Parameters
    ----------
    path : Path
        Folder of a run, folder of an export, or a ``.safetensors`` file of either.
    arm, site, which
        Of a run, which of its models is meant: see `medfl.api.OpenRun.model`.

    Raises
    ------
    RunError
        ``MODEL-FILE`` when there is no model or it cannot be read; ``RUN-MODEL`` when the run has no such model;
        ``RUN-DAMAGED``, ``CHECKPOINT-DAMAGED``.
    ExchangeError
        ``MODEL-MISMATCH`` when a file holds other weights than those of the network of its study.
    """
    if (path / STUDY_JSON).is_file():
        run = Run.open(path)
        arrays = find_arrays(run, arm, site, which)
        name = ", ".join(filter(None, (arm if arm != "federated" else "", site, which)))
        return TrainedModel(run.study, arrays, ModelOrigin(run.study.name, f"{run.path.name} ({name})", _digest(arrays)))
    file = path / EXPORTED_MODEL if path.is_dir() else path
    if path.is_dir() and not file.is_file():
        what = "the model cannot be used: the folder is neither that of a run nor of an export."
        raise RunError("MODEL-FILE", what, "Name the folder of a run or of an export, or a .safetensors file of one.")
    found = read_model_file(file)
    _check_size(found.study, found.arrays)
    version = f"round {found.about['round']}" if "round" in found.about else ""
    return TrainedModel(found.study, found.arrays, ModelOrigin(found.study.name, version, _digest(found.arrays)))


def _check_size(study: Study, arrays: Tensors) -> None:
    """Hold weights against the network of a study before memory is taken for it: a file may name one that fits nowhere."""
    try:
        net = build_network_without_memory(study)
    except RuntimeError:  # of torch, which cannot count so far; of Python, which cannot nest so deeply
        what = "the study in the file names a network that is too large to be built."
        raise ExchangeError("MODEL-MISMATCH", what, "Get the model from whoever made it again.") from None
    check_layout(net, arrays)


def _digest(arrays: Tensors) -> str:
    """Return the SHA-256 of weights, which is the same in a run, an export and a file."""
    return hashlib.sha256(safetensors.save(dict(arrays))).hexdigest()
