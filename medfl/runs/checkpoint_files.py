"""Checkpoints: tensors in a safetensors file, and a JSON file with their hash and everything else."""

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
from medfl.runs.history import to_json_value
from medfl.system.files import commit, temporary_path, translate_disk_errors, write_temporary

TENSORS_SUFFIX, META_SUFFIX = ".safetensors", ".json"
_FORMAT = 1


class Checkpoint(NamedTuple):
    """Named tensors in their own order, and their metadata.

    Parameters
    ----------
    arrays : dict of str to ndarray
        The tensors, in the order in which they were saved.
    meta : dict
        JSON values that were saved with them.
    """

    arrays: dict[str, NDArray[np.generic]]
    meta: dict[str, Any]


def save(
    folder: Path,
    name: str,
    arrays: Mapping[str, NDArray[np.generic]],
    meta: Mapping[str, Any],
    described: dict[str, str] | None = None,
) -> Path:
    """Write ``<name>.safetensors`` and ``<name>.json``; after a crash at any moment the old or the new pair can be loaded.

    Parameters
    ----------
    folder : Path
        Made when it is missing.
    name : str
        File name without its suffix. An older checkpoint of this name is replaced.
    arrays : mapping of str to ndarray
        Tensors of any shape, also 0-d, of boolean, integer or float type.
    meta : mapping
        Anything that JSON can hold; NaN becomes null.
    described : dict of str to str, optional
        Metadata in the file of the tensors itself, for those who get it alone: `medfl.runs.model_file.describe_model`.

    Returns
    -------
    Path
        The file of the tensors.

    Raises
    ------
    RunError
        ``DISK-FULL`` or ``RUN-FOLDER``; the older checkpoint is unchanged then.
    """
    content = safetensors.save({key: to_storable(array) for key, array in arrays.items()}, described)
    document = {
        "format": _FORMAT,
        "sha256": hashlib.sha256(content).hexdigest(),
        "order": list(arrays),
        "meta": to_json_value(meta),
    }
    tensors, meta_file = folder / f"{name}{TENSORS_SUFFIX}", folder / f"{name}{META_SUFFIX}"
    with translate_disk_errors("a checkpoint"):
        folder.mkdir(parents=True, exist_ok=True)
        _finish_interrupted_save(folder, name)
        try:
            write_temporary(tensors, content)
            write_temporary(meta_file, json.dumps(document, indent=1, allow_nan=False).encode())
        except OSError:
            temporary_path(tensors).unlink(missing_ok=True)
            raise
        commit(tensors)
        commit(meta_file)
    return tensors


def _finish_interrupted_save(folder: Path, name: str) -> None:
    """Commit the JSON file of an interrupted `save` before the next one uses its temporary name."""
    tensors, meta_file = folder / f"{name}{TENSORS_SUFFIX}", folder / f"{name}{META_SUFFIX}"
    digest = _read_metadata(temporary_path(meta_file)).get("sha256")
    if digest and tensors.exists() and digest == hashlib.sha256(tensors.read_bytes()).hexdigest():
        commit(meta_file)


def load(folder: Path, name: str) -> Checkpoint:
    """Read a checkpoint and check it against its hash.

    Parameters
    ----------
    folder : Path
        Folder in which it was saved.
    name : str
        File name without its suffix.

    Returns
    -------
    Checkpoint

    Raises
    ------
    RunError
        ``CHECKPOINT-MISSING`` when there is none of this name, ``CHECKPOINT-DAMAGED`` when its content is not what was saved.
    """
    tensors, meta_file = folder / f"{name}{TENSORS_SUFFIX}", folder / f"{name}{META_SUFFIX}"
    try:
        content = tensors.read_bytes()
    except FileNotFoundError:
        raise RunError("CHECKPOINT-MISSING", f"there is no checkpoint {name!r}.", "Choose one that exists.") from None
    digest = hashlib.sha256(content).hexdigest()
    # A crash between the two renames of `save` leaves the new JSON under its temporary name.
    candidates = (_read_metadata(meta_file), _read_metadata(temporary_path(meta_file)))
    document = next((candidate for candidate in candidates if candidate.get("sha256") == digest), None)
    if document is None or document.get("format") != _FORMAT:
        raise _damaged_error(name)
    try:
        stored = safetensors.load(content)
        arrays = {key: stored[key] for key in document["order"]}
    except (SafetensorError, KeyError):
        raise _damaged_error(name) from None
    return Checkpoint(arrays, dict(document["meta"]))


def list_names(folder: Path) -> list[str]:
    """Return the names of the checkpoints in a folder, sorted."""
    return sorted(
        path.name.removesuffix(TENSORS_SUFFIX) for path in folder.glob(f"*{TENSORS_SUFFIX}") if not path.name.startswith(".")
    )


def remove(folder: Path, name: str) -> None:
    """Delete a checkpoint, if it exists."""
    with translate_disk_errors("the list of checkpoints"):
        # The JSON goes last: tensors without it would look damaged.
        (folder / f"{name}{TENSORS_SUFFIX}").unlink(missing_ok=True)
        (folder / f"{name}{META_SUFFIX}").unlink(missing_ok=True)
        temporary_path(folder / f"{name}{META_SUFFIX}").unlink(missing_ok=True)


def prune(folder: Path, keep: Collection[str]) -> None:
    """Delete every checkpoint of a folder except the named ones, and what an interrupted `save` left behind."""
    for name in list_names(folder):
        if name not in keep:
            remove(folder, name)
    with translate_disk_errors("the list of checkpoints"):
        for leftover in folder.glob(f".*{TENSORS_SUFFIX}.tmp"):
            leftover.unlink(missing_ok=True)


def to_storable(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the array C-contiguous and little-endian, in the same shape: safetensors copies the bytes of the memory."""
    fixed = np.asarray(array)
    if fixed.dtype.byteorder == ">":
        fixed = fixed.astype(fixed.dtype.newbyteorder("<"))
    return np.ascontiguousarray(fixed).reshape(fixed.shape)


def _read_metadata(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _damaged_error(name: str) -> RunError:
    return RunError("CHECKPOINT-DAMAGED", f"the checkpoint {name!r} is not what was saved.", "Use an earlier one.")
