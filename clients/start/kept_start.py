"""The first model that came with the question to join, kept at a site: where a part is trained, the rest never travels again.

A study that begins with start weights and trains a part of the network sends its whole first model once. A site holds it
against the digest that it approved, and keeps it in its own folder of the store, under that digest and for its owner alone.
What is read back is held against the digest again, so that a received part is completed with no other model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from flwr.app import ArrayRecord, RecordDict
from safetensors import SafetensorError

from medfl.clients.networks.arrays import Arrays, check_finite, distinct_tensors
from medfl.clients.networks.layers import local_names
from medfl.clients.networks.network_builders import build_network_without_memory
from medfl.data.store.cache_key import START_FOLDER, site_root
from medfl.errors import ExchangeError
from medfl.messages import records
from medfl.messages.array_digest import digest_arrays
from medfl.messages.models import Tensors
from medfl.privacy import path_store
from medfl.site import Site
from medfl.study import Study
from medfl.system.files import translate_disk_errors

_FILE = "first"
_SAME = "Server and sites must run the same study and the same version of medfl."


@dataclass(frozen=True)
class KeptStart:
    """A first model that a site keeps.

    Parameters
    ----------
    digest : str
        ``start.arrays`` of the study.
    names : tuple of str
        Names of its tensors, in their order.
    folder : Path
        Where it lies. Two are equal by digest alone: whatever folder it was read from, a model of this digest is the same.
    """

    digest: str
    names: tuple[str, ...]
    folder: Path = field(compare=False)

    def load(self) -> Arrays:
        """Read the model.

        Raises
        ------
        ExchangeError
            ``START-MISSING`` when it is not there, or is not the one of this digest.
        """
        return dict(_load(self))

    def save(self, arrays: Tensors) -> None:
        """Write a model that was held against the digest, unless it is there already, undamaged."""
        try:
            _read(self)
        except ExchangeError:
            with translate_disk_errors("the first model of the study", "let the server ask again"):
                path_store.save_model(self.folder / _FILE, arrays, 0)


def kept_start(study: Study, site: Site) -> KeptStart | None:
    """Return where a site keeps the first model of a study, None for a study that does not send it whole."""
    return start_in(study, site_root(site)) if study.sends_start else None


def start_in(study: Study, root: Path) -> KeptStart:
    """Return where the first model of a study lies in a site's folder of the store."""
    return KeptStart(study.start.arrays, tuple(_tensors_of(study)), root / START_FOLDER / study.start.arrays)


def receive_start(content: RecordDict, study: Study, site: Site) -> None:
    """Check the first model that came with the question to join, and keep it.

    Parameters
    ----------
    content : RecordDict
        What was received.
    study : Study
        One that sends its first model whole.
    site : Site
        The site.

    Raises
    ------
    ExchangeError
        ``START-MISSING`` when none came, ``ARRAYS-UNREADABLE``, ``MODEL-MISMATCH`` when it is not of the study's network,
        ``START-OTHER`` when it has another digest than the study names, ``MODEL-NONFINITE``.
    RunError
        ``DISK-FULL`` or ``RUN-FOLDER``.
    """
    kept, record = kept_start(study, site), content.get(records.START)
    if kept is None:
        return
    if not isinstance(record, ArrayRecord):
        what = "the server asks to join without the first model, of which the study trains a part."
        raise ExchangeError("START-MISSING", what, _SAME)
    arrays = records.array_views(record)
    if {name: (x.shape, x.dtype.name) for name, x in arrays.items()} != _tensors_of(study) or tuple(arrays) != kept.names:
        raise ExchangeError("MODEL-MISMATCH", "the first model does not fit the network of the study.", _SAME)
    if digest_arrays(arrays) != kept.digest:
        raise other_start()
    check_finite(arrays)
    kept.save(arrays)


def other_start() -> ExchangeError:
    """Return the error of a first model that is not the one of the study."""
    what = "the first model is not the one that the study names in start.arrays."
    return ExchangeError("START-OTHER", what, "Ask who runs the server which weights the study began with.")


@lru_cache(maxsize=4)
def _tensors_of(study: Study) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return shapes and types of the tensors that a first model has, by name."""
    net = build_network_without_memory(study)
    local = local_names(study, net)
    tensors = {name: tensor for name, tensor in distinct_tensors(net).items() if name not in local}
    return {name: (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")) for name, tensor in tensors.items()}


@lru_cache(maxsize=1)
def _load(kept: KeptStart) -> Arrays:
    return _read(kept)


def _read(kept: KeptStart) -> Arrays:
    arrays: Arrays = {}
    with path_store.open_model(kept.folder / _FILE) as stored:
        try:
            arrays = {name: stored.read(name) for name in kept.names} if stored else {}
        except (SafetensorError, OSError):
            arrays = {}
    if not arrays or digest_arrays(arrays) != kept.digest:
        what = "the first model, which came as this site joined, is not here any more, or was changed."
        raise ExchangeError("START-MISSING", what, "The server sends it again when the run is resumed: medfl resume RUN")
    return arrays
