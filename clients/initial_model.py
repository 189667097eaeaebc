"""The model that every arm of a run starts from."""

from __future__ import annotations

from flwr.app import ArrayRecord

# First, though nothing of it is used: Flower's simulation imports the ClientApp in another thread at the same time, and MONAI's
# circular imports break when two threads enter them at different modules.
import medfl.clients.node  # noqa: F401
from medfl.clients.networks.layers import shared_arrays, whole_arrays
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
    return to_array_record(shared_arrays(study, build_training_network(study)))


def build_initial_models(study: Study) -> dict[str, ArrayRecord]:
    """Return the initial models that a run needs, by the names under which a ServerApp finds them in its state.

    Parameters
    ----------
    study : Study
        Where layers stay at the sites and an arm trains each site alone, that arm's model is built as well; where a part is
        trained, also what completes it.
    """
    net = build_training_network(study)
    has_full = bool(study.local_layers) and "local" in study.arms
    models = {INITIAL: shared_arrays(study, net)}
    if has_full:
        models[INITIAL_FULL] = shared_arrays(study, net, "local")
    if study.training.tunes_part:
        models[BASE] = whole_arrays(study, net)
        if has_full:
            models[BASE_FULL] = whole_arrays(study, net, "local")
    return {name: to_array_record(arrays) for name, arrays in models.items()}
