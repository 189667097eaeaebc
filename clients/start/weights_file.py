"""Files of weights, of medfl, MONAI or plain PyTorch, read without running anything that is in them."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from medfl.errors import RunError
from medfl.runs.model_file import describes_study, read_model_file
from medfl.study import Study

# names under which training programs keep the state dict of a network beside other things, the most telling first
_WRAPPERS = ("state_dict", "model_state_dict", "network_weights", "model_state", "model", "network", "net", "module", "weights")
_LEVELS = 4  # of wrappers within one another; a file may hold one that holds itself
_DAMAGED = ("it is damaged or not whole.", "Copy or download it again.")
_CODE = (
    "it holds more than weights, and opening it could run what is in it, so it was not opened.",
    "Ask for its state dict alone, or for a .safetensors file.",
)


@dataclass(frozen=True)
class Weights:
    """Tensors of a file.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        By their names in the file, on the CPU.
    study : Study, optional
        Study that trained them, where medfl wrote the file.
    studies : tuple of str
        Hash of that study, and of those that it began with.
    """

    tensors: Mapping[str, Tensor]
    study: Study | None = None
    studies: tuple[str, ...] = ()


def read_weights(path: Path) -> Weights:
    """Read the weights of a file.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file, or a ``.pt`` or ``.pth`` file with a state dict, which may lie in a checkpoint.

    Raises
    ------
    RunError
        ``START-FILE`` when the file is damaged, holds code, or no weights.
    """
    if path.suffix == ".safetensors":
        found = read_model_file(path) if describes_study(path) else None
        weights = Weights(_read_safetensors(path))
        if found:  # what was sent of it lies in the file, too
            whole = {name: tensor for name, tensor in weights.tensors.items() if name in found.arrays}
            weights = Weights(whole, study=found.study, studies=(found.study_hash, *found.study.start.studies))
    else:
        weights = Weights(_find_state_dict(_read_pickle(path)))
    tensors = weights.tensors
    if not tensors:
        raise _unusable("it holds no state dict: no tensors with names.", "Save the state dict of the network.")
    if any(tensor.layout is not torch.strided or tensor.is_quantized for tensor in tensors.values()):
        raise _unusable("its tensors are sparse or quantised.", "Take the weights of before.")
    return weights


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    except (SafetensorError, OSError, ValueError):
        raise _unusable(*_DAMAGED) from None


def _read_pickle(path: Path) -> object:
    try:
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("constants.pkl") for name in archive.namelist()):
                raise _unusable("it is a TorchScript program, and no state dict.", _CODE[1])
    except (zipfile.BadZipFile, OSError):
        pass  # a file of an early version of torch is no archive
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about its own formats
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        is_code = any(word in str(error) for word in ("GLOBAL", "global", "Unsupported operand", "class"))
        raise _unusable(*(_CODE if is_code else _DAMAGED)) from None
    except Exception:  # the bytes are untrusted, and torch may raise anything
        raise _unusable(*_DAMAGED) from None


def _find_state_dict(content: Any) -> dict[str, Tensor]:
    for _ in range(_LEVELS):
        if not isinstance(content, Mapping):
            break
        inner = next((content[name] for name in _WRAPPERS if isinstance(content.get(name), Mapping)), None)
        if inner is None:
            return {str(name): value.detach() for name, value in content.items() if isinstance(value, Tensor)}
        content = inner
    return {}


def _unusable(what: str, fix: str) -> RunError:
    return RunError("START-FILE", f"the weights cannot be used: {what}", fix)
