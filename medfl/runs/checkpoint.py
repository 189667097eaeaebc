"""Checkpoints: tensors in safetensors, everything else in a JSON file beside them that also holds their hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from medfl.errors import RunError
from medfl.runs.history import plain
from medfl.system.files import commit, pending, write_pending, writing

TENSORS, META = ".safetensors", ".json"
_FORMAT = 1


class Checkpoint(NamedTuple):
    """Named tensors in their own order, and what is told about them.

    Parameters
    ----------
    arrays : dict of str to ndarray
        The tensors, in the order in which they were saved.
    meta : dict
        Whatever was saved with them, as JSON knows it.
    """

    arrays: dict[str, NDArray[np.generic]]
    meta: dict[str, Any]


def save(folder: Path, name: str, arrays: Mapping[str, NDArray[np.generic]], meta: Mapping[str, Any]) -> Path:
    """Write ``<name>.safetensors`` and ``<name>.json``; after a crash at any moment the old or the new pair can be loaded.

    Parameters
    ----------
    folder : Path
        Made when it is missing.
    name : str
        File name without its ending. An older checkpoint of this name is replaced.
    arrays : mapping of str to ndarray
        Tensors of any shape, 0-d too, of boolean, integer or float type.
    meta : mapping
        Anything that JSON can hold; NaN becomes null.

    Returns
    -------
    Path
        The file with the tensors.

    Raises
    ------
    RunError
        ``DISK-FULL`` or ``RUN-FOLDER``; the older checkpoint is then still whole.
    """
    content = safetensors.save({key: _storable(array) for key, array in arrays.items()})
    about = {"format": _FORMAT, "sha256": hashlib.sha256(content).hexdigest(), "order": list(arrays), "meta": plain(meta)}
    tensors, told = folder / f"{name}{TENSORS}", folder / f"{name}{META}"
    with writing("a checkpoint"):
        folder.mkdir(parents=True, exist_ok=True)
        _settle(folder, name)
        try:
            write_pending(tensors, content)
            write_pending(told, json.dumps(about, indent=1, allow_nan=False).encode())
        except OSError:
            pending(tensors).unlink(missing_ok=True)
            raise
        commit(tensors)
        commit(told)
    return tensors


def _settle(folder: Path, name: str) -> None:
    """Give the JSON of an interrupted `save` its name before the next one takes its temporary name."""
    tensors, told = folder / f"{name}{TENSORS}", folder / f"{name}{META}"
    left = _about(pending(told)).get("sha256")
    if left and tensors.exists() and left == hashlib.sha256(tensors.read_bytes()).hexdigest():
        commit(told)


def load(folder: Path, name: str) -> Checkpoint:
    """Read a checkpoint and check it against its hash.

    Parameters
    ----------
    folder : Path
        Where it was saved.
    name : str
        File name without its ending.

    Returns
    -------
    Checkpoint

    Raises
    ------
    RunError
        ``CHECKPOINT-MISSING`` when there is none of this name, ``CHECKPOINT-DAMAGED`` when its content is not what was saved.
    """
    tensors, told = folder / f"{name}{TENSORS}", folder / f"{name}{META}"
    try:
        content = tensors.read_bytes()
    except FileNotFoundError:
        raise RunError("CHECKPOINT-MISSING", f"there is no checkpoint {name!r}.", "Choose one that exists.") from None
    found = hashlib.sha256(content).hexdigest()
    # A crash between the two renames of `save` leaves the new JSON under its temporary name.
    about = next((a for a in (_about(told), _about(pending(told))) if a.get("sha256") == found), None)
    if about is None or about.get("format") != _FORMAT:
        raise _damaged(name)
    try:
        stored = safetensors.load(content)
        arrays = {key: stored[key] for key in about["order"]}
    except (SafetensorError, KeyError):
        raise _damaged(name) from None
    return Checkpoint(arrays, dict(about["meta"]))


def names(folder: Path) -> list[str]:
    """Return the names of the checkpoints in a folder, sorted."""
    return sorted(path.name.removesuffix(TENSORS) for path in folder.glob(f"*{TENSORS}") if not path.name.startswith("."))


def remove(folder: Path, name: str) -> None:
    """Delete a checkpoint; it may be missing."""
    with writing("the list of checkpoints"):
        # The JSON goes last: tensors without it could not be told from damaged ones.
        (folder / f"{name}{TENSORS}").unlink(missing_ok=True)
        (folder / f"{name}{META}").unlink(missing_ok=True)
        pending(folder / f"{name}{META}").unlink(missing_ok=True)


def prune(folder: Path, keep: Collection[str]) -> None:
    """Delete every checkpoint of a folder but the named ones, and what an interrupted `save` left behind."""
    for name in names(folder):
        if name not in keep:
            remove(folder, name)
    with writing("the list of checkpoints"):
        for left in folder.glob(f".*{TENSORS}.tmp"):
            left.unlink(missing_ok=True)


def _storable(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the array C-contiguous and little-endian, of the same shape: safetensors writes raw bytes as they lie."""
    fixed = np.asarray(array)
    if fixed.dtype.byteorder == ">":
        fixed = fixed.astype(fixed.dtype.newbyteorder("<"))
    return np.ascontiguousarray(fixed).reshape(fixed.shape)


def _about(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def _damaged(name: str) -> RunError:
    return RunError("CHECKPOINT-DAMAGED", f"the checkpoint {name!r} is not what was saved.", "Use an earlier one.")
