"""Models that a hospital keeps: files in the folder ``models`` beside its site.toml, for their owner alone.

``models/STUDY-HASH/RUN/shared.safetensors`` is a model file (`medfl.runs.model_file`), which holds nothing of this hospital but
what training put into the model, so it may be handed on as the study allows. Beside it lies the receipt ``shared.json``: how
the model did on the hospital's own test patients, exactly and hidden from nobody, and the proof that the federation's server
sent it. The receipt is written first. One without its model therefore tells of a model that could not be kept.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from medfl.messages.models import Tensors
from medfl.runs.history import to_json_value
from medfl.runs.model_file import model_file_bytes
from medfl.site import Site
from medfl.study import Study
from medfl.system.files import make_private_folder, read_json, sync_folder, translate_disk_errors, write_file

Which = Literal["shared", "personal"]

_FOLDER = "models"
_MODEL, _RECEIPT = ".safetensors", ".json"
_HASH_DIGITS = 8  # of a study's hash, in the name of its folder


@dataclass(frozen=True)
class KeptModel:
    """A model that a hospital keeps, as its receipt describes it.

    Parameters
    ----------
    study, study_hash : str
        Name and hash of the approved study.
    run : str
        Name of the run.
    which : {"shared", "personal"}
        The model of all hospitals, or this hospital's own.
    round : int, optional
        Round whose model it is, where the server said so; the best round of an own model is not known.
    test : dict
        How it did on the hospital's own test patients: ``score``, by which models are compared, ``patients``, and all
        ``scores`` by name. Empty where it was not tested.
    proof : dict, optional
        What shows that the server sent it: `medfl.messages.message_proof.MessageProof`, as JSON values.
    kept : str
        ISO time, UTC; set on writing.
    sha256 : str
        Of the model file, hexadecimal; set on writing. Empty where the receipt is gone.
    path : Path
        The model file.
    """

    study: str
    study_hash: str
    run: str
    which: Which
    round: int | None = None
    test: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    proof: Mapping[str, Any] | None = None
    kept: str = ""
    sha256: str = ""
    path: Path = Path()

    @property
    def is_there(self) -> bool:
        """Whether there is a model file, not only a receipt."""
        return self.path.is_file()

    @property
    def size(self) -> int:
        """Bytes of the model file."""
        with contextlib.suppress(OSError):
            return self.path.stat().st_size
        return 0


def models_folder(site: Site) -> Path:
    """Return the folder of the models that a site keeps; it need not exist."""
    return site.folder / _FOLDER


def write_kept(
    folder: Path, study: Study, arrays: Tensors, model: KeptModel, site_name: str = "", sent: Tensors | None = None
) -> KeptModel:
    """Keep a model durably. It replaces one of the same study, run and kind.

    Parameters
    ----------
    folder : Path
        `models_folder` of the site.
    study : Study
        The study, which goes into the model file.
    arrays : mapping of str to ndarray
        The whole model, in the order of its network.
    model : KeptModel
        What its receipt says.
    site_name : str
        Name of the site, for its own model.
    sent : mapping of str to ndarray, optional
        As in `medfl.runs.model_file.model_file_bytes`.

    Returns
    -------
    KeptModel
        With its path, time and hash.

    Raises
    ------
    RunError
        ``DISK-FULL`` or ``RUN-FOLDER``. The receipt may be there then, an older model is unchanged.
    """
    about = {"arm": "federated", "site": site_name} | ({} if model.round is None else {"round": model.round})
    content = model_file_bytes(study, arrays, about, sent)
    run_folder = folder / f"{model.study}-{model.study_hash[:_HASH_DIGITS]}" / model.run
    kept = dataclasses.replace(
        model,
        kept=datetime.now(UTC).isoformat(timespec="seconds"),
        sha256=hashlib.sha256(content).hexdigest(),
        path=run_folder / f"{model.which}{_MODEL}",
    )
    receipt = {key: value for key, value in dataclasses.asdict(kept).items() if key != "path"}
    with translate_disk_errors("the model of the study"):
        make_private_folder(run_folder)
        for parent in (run_folder.parent, folder, folder.parent):
            sync_folder(parent)
        write_file(kept.path.with_suffix(_RECEIPT), json.dumps(to_json_value(receipt), indent=1).encode(), private=True)
        write_file(kept.path, content, private=True)
    return kept


def list_kept(folder: Path) -> tuple[KeptModel, ...]:
    """Return the models that a site keeps, the oldest first, with those that could not be kept whole."""
    paths = {path.with_suffix(_MODEL) for end in (_MODEL, _RECEIPT) for path in folder.glob(f"*/*/*{end}")}
    found = [_read_receipt(path) for path in paths if not path.name.startswith(".")]
    return tuple(sorted(found, key=lambda model: (model.kept, model.path)))


def remove_kept(model: KeptModel) -> None:
    """Remove a model and its receipt.

    Raises
    ------
    RunError
        ``RUN-FOLDER`` when they cannot be removed.
    """
    with translate_disk_errors("the folder of models", "give the same command again"):
        model.path.with_suffix(_RECEIPT).unlink(missing_ok=True)
        model.path.unlink(missing_ok=True)
        sync_folder(model.path.parent)
    for folder in (model.path.parent, model.path.parent.parent):
        with contextlib.suppress(OSError):  # it holds another model
            folder.rmdir()


def _read_receipt(path: Path) -> KeptModel:
    """Return what the receipt of a model says; without one that belongs to it, what the names of its folders say."""
    values = read_json(path.with_suffix(_RECEIPT)) or {}
    known = {field.name: values[field.name] for field in dataclasses.fields(KeptModel) if field.name in values}
    with contextlib.suppress(TypeError):  # something is missing
        model = KeptModel(**known | {"path": path})
        if _belongs(model):
            return model
    study, _, digest = path.parent.parent.name.rpartition("-")
    return KeptModel(study, digest, path.parent.name, "personal" if path.stem == "personal" else "shared", path=path)


def _belongs(model: KeptModel) -> bool:
    """Say whether a receipt is of the model beside it, and its values are what they should be."""
    texts = (model.study, model.study_hash, model.run, model.which, model.kept, model.sha256)
    if not all(isinstance(text, str) for text in texts) or not isinstance(model.test, dict):
        return False
    place = (f"{model.study}-{model.study_hash[:_HASH_DIGITS]}", model.run, model.which)
    numbers = (model.round, model.test.get("score"), model.test.get("patients"))
    return (
        place == (*model.path.parts[-3:-1], model.path.stem)
        and all(number is None or type(number) in (int, float) for number in numbers)
        and isinstance(model.proof, dict | None)
    )
