"""Model files: the weights of a model in a safetensors file that says what they are, so that it can be used without its run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors

from medfl.errors import RunError
from medfl.messages.models import Tensors
from medfl.runs.checkpoint_files import to_storable
from medfl.study import Study
from medfl.study.model_words import describe_axes, describe_network, describe_output, describe_preprocessing
from medfl.study.plain_names import free_names, has_control
from medfl.study.study_json import hash_recorded_study, study_from_json

_KEY = "medfl"  # a single one, as safetensors writes several in any order and equal runs have equal files
_FORMAT = 1
_SENT = "sent/"  # before the names of tensors that are no part of the model, but what was sent of it
_MAX_CHARACTERS = 4_000_000  # of what a file says of itself: the largest network has thousands of tensors
_ABOUT: dict[str, tuple[type, ...]] = {
    "arm": (str,),
    "site": (str,),
    "round": (int,),
    "score": (int, float, type(None)),
}  # other keys are of later versions, and not used


@dataclass(frozen=True)
class ModelFile:
    """Content of a model file.

    Parameters
    ----------
    study : Study
        Study that trained the model; it gives network, classes and preprocessing.
    arrays : mapping of str to ndarray
        Distinct tensors of the network, in its own order.
    about : dict
        Where the model comes from, as JSON values: ``arm``, ``site`` (empty for the shared model), ``round``, ``score``.
    digest : str
        SHA-256 of the file, hexadecimal.
    study_hash : str
        Hash under which hospitals approved the study, whichever version of medfl reads it now.
    sent : mapping of str to ndarray, optional
        The tensors that were sent, where a part of the network was trained and the file says them.
    """

    study: Study
    arrays: Tensors
    about: dict[str, Any]
    digest: str
    study_hash: str
    sent: Tensors | None = None


def describe_model(study: Study, order: list[str], about: Mapping[str, Any], sent: Iterable[str] = ()) -> dict[str, str]:
    """Return the safetensors metadata of a model file.

    It says in words what goes into the network and what comes out, for those who use it without medfl. It holds neither time
    nor name of a run, so that equal runs have equal files.

    Parameters
    ----------
    study : Study
        Study that trained the model.
    order : list of str
        Names of the tensors in the order of the network; safetensors sorts them.
    about : mapping
        Where the model comes from, as `ModelFile.about`.
    sent : iterable of str
        Names of the tensors that were sent, in their order, where the file has these beside the model.
    """
    document = {
        "format": _FORMAT,
        "about": dict(about),
        "axes": describe_axes(study),
        "preprocessing": describe_preprocessing(study),
        "network": describe_network(study),
        "output": describe_output(study),
        "classes": study.task.classes,
        "study": study.model_dump(mode="json", by_alias=True),
        "order": order,
        **({"sent": names} if (names := list(sent)) else {}),
    }
    return {_KEY: json.dumps(document, allow_nan=False)}


def model_file_bytes(study: Study, arrays: Tensors, about: Mapping[str, Any], sent: Tensors | None = None) -> bytes:
    """Return the content of a model file; study, arrays, about and sent are those of `ModelFile`."""
    stored = dict(arrays) | {f"{_SENT}{name}": array for name, array in (sent or {}).items()}
    return safetensors.save(
        {name: to_storable(array) for name, array in stored.items()}, describe_model(study, list(arrays), about, sent or ())
    )


def read_model_file(path: Path) -> ModelFile:
    """Read a model file; nothing in it is run.

    Raises
    ------
    RunError
        ``MODEL-FILE`` when it cannot be read, is truncated, or was not written by medfl.
    """
    if not path.is_file():
        raise _unusable("there is no such file.", "Name the folder of a run or of an export, or a .safetensors file of one.")
    if path.suffix != ".safetensors":
        what = (
            f"a file that ends with {path.suffix!r} may hold code, so it is not opened." if path.suffix else "it has no suffix."
        )
        raise _unusable(what, "Name a .safetensors file that medfl wrote, or the folder of a run or of an export.")
    try:
        with safe_open(path, framework="numpy") as stored:
            said = (stored.metadata() or {}).get(_KEY, "{}")
            if len(said) > _MAX_CHARACTERS:
                raise ValueError
            document = json.loads(said)
            if document.get("format") != _FORMAT:
                what = "it does not say which study trained it."
                raise _unusable(what, "Name a model that this version of medfl wrote, for example best.safetensors of a run.")
            arrays = {name: stored.get_tensor(name) for name in document["order"]}
            sent = {name: stored.get_tensor(f"{_SENT}{name}") for name in document.get("sent", ())} or None
        study, about = study_from_json(document["study"]), _read_about(document["about"])
        if any(has_control(name) for _, name in free_names(study.task)):
            raise ValueError
        study_hash = hash_recorded_study(document["study"])
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _unusable("it is damaged or not whole.", "Copy it again, or export the model again.") from None
    return ModelFile(study, arrays, about, digest, study_hash, sent)


def describes_study(path: Path) -> bool:
    """Return whether a safetensors file says which study trained it, as those of medfl do."""
    try:
        with safe_open(path, framework="numpy") as stored:
            return _KEY in (stored.metadata() or {})
    except (SafetensorError, OSError):
        return False


def _read_about(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return where a model comes from: what becomes text elsewhere is of the right type, and one line."""
    about = {key: value for key, value in values.items() if key in _ABOUT}
    for key, value in about.items():
        if isinstance(value, bool) or not isinstance(value, _ABOUT[key]) or (isinstance(value, str) and has_control(value)):
            raise ValueError
    return about


def _unusable(what: str, fix: str) -> RunError:
    return RunError("MODEL-FILE", f"the model cannot be used: {what}", fix)
