"""The model that every arm of a run starts from: drawn from the seed, or of the weights that the study names."""

from __future__ import annotations

from flwr.app import ArrayRecord

# First, though nothing of it is used: Flower's simulation imports the ClientApp in another thread at the same time, and MONAI's
# circular imports break when two threads enter them at different modules.
import medfl.clients.node  # noqa: F401
from medfl.clients.networks.arrays import Arrays, get_arrays
from medfl.clients.networks.layers import base_names, shared_names
from medfl.clients.networks.network_builders import build_network
from medfl.clients.networks.tuning import build_training_network
from medfl.clients.start.start_model import load_start
from medfl.messages.records import BASE, BASE_FULL, INITIAL, INITIAL_FULL, to_array_record
from medfl.runs.model_library import find_start_file
from medfl.study import Study


def build_initial_model(study: Study, file: str = "") -> ArrayRecord:
    """Build the network of a study and return the tensors that are exchanged, ready to be sent.

    Parameters
    ----------
    study : Study
        Its network and seed, and what it begins with, determine every number.
    file : str
        Path of the start weights, where the study has some; empty: they are in the library of models.

    Returns
    -------
    ArrayRecord
        Arrays in the order of `medfl.clients.networks.arrays.get_arrays`, without the layers that stay at the sites and those
        that are not trained.

    Raises
    ------
    RunError
        ``START-FILE``, ``START-FIT`` or ``START-HASH`` when the start weights are not those of the study.
    """
    return build_initial_models(study, file)[INITIAL]


def build_initial_models(study: Study, file: str = "") -> dict[str, ArrayRecord]:
    """Return the initial models that a run needs, by the names under which a ServerApp finds them in its state.

    Parameters
    ----------
    study, file
        As for `build_initial_model`. Where layers stay at the sites and an arm trains without a federation, its model is built
        as well; where a part is trained, also what completes it.
    """
    net = build_training_network(study)
    whole = get_arrays(net) | _whole_arrays(study, file)
    names = {INITIAL: shared_names(study, net)}
    bases = {BASE: base_names(study, net)} if study.training.tunes_part else {}
    if study.local_layers and (others := set(study.arms) - {"federated"}):
        other = min(others)  # all these have the same layers
        names[INITIAL_FULL] = shared_names(study, net, other)
        bases |= {BASE_FULL: base_names(study, net, other)} if bases else {}
    return {key: to_array_record({name: whole[name] for name in chosen}) for key, chosen in (names | bases).items()}


def _whole_arrays(study: Study, file: str) -> Arrays:
    """Return the tensors of the plain network with which a study begins."""
    if study.start.is_given:
        return load_start(study, find_start_file(study.start, given=file)).arrays
    return get_arrays(build_network(study))
