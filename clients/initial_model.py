"""The model that every arm of a run starts from."""

from __future__ import annotations

from flwr.app import ArrayRecord

# First, though nothing of it is used: Flower's simulation imports the ClientApp in another thread at the same time, and MONAI's
# circular imports break when two threads enter them at different modules.
import medfl.clients.node  # noqa: F401
from medfl.clients.networks.arrays import Arrays, get_arrays
from medfl.clients.networks.layers import base_names, shared_names
from medfl.clients.networks.network_builders import build_network
from medfl.clients.networks.tuning import build_training_network
from medfl.messages.records import BASE, BASE_FULL, INITIAL, INITIAL_FULL, to_array_record
from medfl.study import Study


def build_initial_model(study: Study) -> ArrayRecord:
    """Build the network of a study and return the tensors that are exchanged, ready to be sent.

    Parameters
    ----------
    study : Study
        Its network and seed determine every number.

    Returns
    -------
    ArrayRecord
        Arrays in the order of `medfl.clients.networks.arrays.get_arrays`, without the layers that stay at the sites and those
        that are not trained.
    """
    return build_initial_models(study)[INITIAL]


def build_initial_models(study: Study) -> dict[str, ArrayRecord]:
    """Return the initial models that a run needs, by the names under which a ServerApp finds them in its state.

    Parameters
    ----------
    study : Study
        Where layers stay at the sites and an arm trains without a federation, its model is built as well; where a part is
        trained, also what completes it.
    """
    net = build_training_network(study)
    whole = get_arrays(net) | _whole_arrays(study)
    names = {INITIAL: shared_names(study, net)}
    bases = {BASE: base_names(study, net)} if study.training.tunes_part else {}
    if study.local_layers and (others := set(study.arms) - {"federated"}):
        other = min(others)  # all these have the same layers
        names[INITIAL_FULL] = shared_names(study, net, other)
        bases |= {BASE_FULL: base_names(study, net, other)} if bases else {}
    return {key: to_array_record({name: whole[name] for name in chosen}) for key, chosen in (names | bases).items()}


def _whole_arrays(study: Study) -> Arrays:
    """Return the tensors of the plain network with which a study begins."""
    return get_arrays(build_network(study))
