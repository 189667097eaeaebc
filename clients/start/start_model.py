"""The first model of a study that begins with the weights of a file."""

from __future__ import annotations

from pathlib import Path

from medfl.clients.networks.arrays import Arrays
from medfl.clients.networks.layers import local_names
from medfl.clients.networks.network_builders import build_network_without_memory
from medfl.clients.networks.tuning import build_training_network_without_memory, trained_names
from medfl.clients.start.weight_mapping import MappedWeights, map_weights
from medfl.clients.start.weights_file import read_weights
from medfl.errors import RunError
from medfl.messages.array_digest import digest_arrays
from medfl.messages.models import Tensors
from medfl.runs.model_library import find_weights, hash_file
from medfl.study import Study
from medfl.system.text import plural


def load_start(study: Study, file: Path) -> MappedWeights:
    """Return the weights with which a study begins, exactly those that it names.

    Parameters
    ----------
    study : Study
        Has a table ``start``.
    file : Path
        The file of the weights.

    Raises
    ------
    RunError
        ``START-FILE`` and ``START-FIT`` as in `map_start`; ``START-HASH`` when the file is another one
        than the study says, or the first model made of it is.
    """
    path = find_weights(file)
    if hash_file(path) != study.start.sha256:
        what = "the file of the start weights is not the one that the study names: its SHA-256 is another one."
        raise RunError("START-HASH", what, "Get the right file, or name this one: medfl study start STUDY MODEL")
    mapped = map_weights(study, read_weights(path))
    _check_new_layers(study, mapped)
    if digest_shared(study, mapped.arrays) != study.start.arrays:
        what = "the first model made of the start weights is another one than the study says: the study was changed since, or"
        what += " medfl or MONAI is of another version."
        raise RunError("START-HASH", what, "Write both digests again: medfl study start STUDY MODEL")
    return mapped


def map_start(study: Study, file: Path) -> tuple[MappedWeights, dict[str, str]]:
    """Map a file to a study that does not name it yet, and return with it what the table ``start`` has to say of it.

    Raises
    ------
    RunError
        ``START-FILE``, ``START-FIT`` as in `read_weights` and `map_weights`; ``START-FIT`` also when parameters are drawn anew
        that the study does not train themselves.
    """
    path = find_weights(file)
    weights = read_weights(path)
    mapped = map_weights(study, weights)
    _check_new_layers(study, mapped)
    told = {"sha256": hash_file(path), "arrays": digest_shared(study, mapped.arrays), "studies": ",".join(weights.studies)}
    return mapped, told


def _check_new_layers(study: Study, mapped: MappedWeights) -> None:
    if not study.training.tunes_part:
        return
    net = build_training_network_without_memory(study)
    parameters, trained = dict(net.named_parameters(remove_duplicate=False)), trained_names(study, net)
    new = [row.name for row in mapped.table if row.how == "new" and row.name in parameters]
    if left := [name for name in new if name not in trained]:  # a low-rank update of a tensor does not train it whole
        what = f"{plural(len(left), 'tensor')} would be drawn anew and never be trained as a whole, the first is {left[0]!r}."
        fix = "Add to training.tune what names them: 'head' for a new head, as in lora,head, or patterns of their names."
        raise RunError("START-FIT", what, fix)


def digest_shared(study: Study, arrays: Tensors) -> str:
    """Return the digest of what of a whole model is exchanged."""
    return digest_arrays(keep_shared(study, dict(arrays)))


def keep_shared(study: Study, arrays: Arrays) -> Arrays:
    """Return the tensors of a whole model that are exchanged, in their order."""
    local = local_names(study, build_network_without_memory(study)) if study.local_layers else frozenset()
    return {name: array for name, array in arrays.items() if name not in local}
