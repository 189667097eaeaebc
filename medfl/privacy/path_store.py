"""What a hospital keeps to watch the path of a model: the first and the last received one, and its own steps, private to it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from medfl.privacy.tensor_statistics import Extent, Tensor
from medfl.system.files import make_private_folder, read_json, write_file

_TYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8"}
_TYPES |= {"uint8": "U8", "bool": "BOOL"}
_SUFFIX = ".safetensors"


@dataclass
class PathNotes:
    """Figures of one arm of a run.

    Parameters
    ----------
    own : dict of str to Extent
        Largest steps of the hospital's own training, by tensor.
    steps : int
        Optimizer steps of its last round.
    rate : float
        Largest share of the learning rate that the schedule left in the rounds that it trained; 0 before the first.
    norms : dict of str to list of float
        What came: for each question the norm of the model, and that of its change.
    alarmed : list of str
        Questions whose model raised an alarm: training it says nothing about the pace.
    """

    own: dict[str, Extent] = field(default_factory=dict)
    steps: int = 0
    rate: float = 0.0
    norms: dict[str, list[float]] = field(default_factory=dict)
    alarmed: list[str] = field(default_factory=list)


class StoredModel:
    """A model on disk, read tensor by tensor.

    Parameters
    ----------
    file : safetensors' open file
        The tensors.
    rounds : int
        Rounds of training that the model has seen.
    """

    def __init__(self, file: Any, rounds: int) -> None:
        self._file, self.rounds = file, rounds

    def read(self, name: str) -> Tensor:
        """Return one tensor."""
        tensor: Tensor = self._file.get_tensor(name)
        return tensor


@contextmanager
def open_model(path: Path) -> Iterator[StoredModel | None]:
    """Open a stored model; None where there is none, or it is damaged."""
    with contextlib.ExitStack() as stack:
        model = None
        with contextlib.suppress(OSError, SafetensorError, ValueError):
            file = stack.enter_context(safe_open(path.with_suffix(_SUFFIX), framework="numpy"))
            model = StoredModel(file, int((file.metadata() or {}).get("rounds", 0)))
        yield model


def save_model(path: Path, tensors: Mapping[str, Tensor], rounds: int) -> None:
    """Write a model in the format of safetensors, whole or not at all, one tensor after the other (mode 0600)."""
    header: dict[str, Any] = {"__metadata__": {"rounds": str(rounds)}}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": _TYPES[tensor.dtype.name], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    make_private_folder(path.parent)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for tensor in tensors.values():
                little = tensor.astype(tensor.dtype.newbyteorder("<"), order="C", copy=False)
                file.write(little.reshape(-1).view(np.uint8).data)
        fresh.replace(path.with_suffix(_SUFFIX))
    finally:
        fresh.unlink(missing_ok=True)


def has_model(path: Path) -> bool:
    """Return whether a model is stored."""
    return path.with_suffix(_SUFFIX).is_file()


def remove_model(path: Path) -> None:
    """Remove a stored model, if there is one."""
    with contextlib.suppress(OSError):
        path.with_suffix(_SUFFIX).unlink(missing_ok=True)


def load_notes(path: Path) -> PathNotes:
    """Return the figures of an arm; empty ones where there are none, or they are damaged."""
    values = read_json(path.with_suffix(".json")) or {}
    try:
        own = {name: Extent(float(rms), float(peak)) for name, (rms, peak) in dict(values.get("own", {})).items()}
        norms = {str(key): [float(x) for x in row] for key, row in dict(values.get("norms", {})).items()}
        steps, rate = int(values.get("steps", 0)), float(values.get("rate", 0.0))
        return PathNotes(own, steps, rate, norms, list(map(str, values.get("alarmed", []))))
    except (TypeError, ValueError):
        return PathNotes()


def save_notes(path: Path, notes: PathNotes) -> None:
    """Write the figures of an arm, whole or not at all (mode 0600)."""
    make_private_folder(path.parent)
    values = {"own": notes.own, "steps": notes.steps, "rate": notes.rate, "norms": notes.norms, "alarmed": notes.alarmed}
    write_file(path.with_suffix(".json"), json.dumps(values, separators=(",", ":")).encode(), private=True, durable=False)
