"""The layers with which every site begins: of the study's seed, or of the first model that was sent, where it begins with one.

Both are the same at the server and at every site, bit by bit. Caches hold for a study, which names its first model by a digest,
and nothing is read that has another one.
"""

from __future__ import annotations

from functools import lru_cache

from medfl.clients.networks.arrays import Arrays, get_arrays
from medfl.clients.networks.layers import local_names, shared_names
from medfl.clients.networks.tuning import build_training_network, build_training_network_without_memory
from medfl.clients.start.kept_start import KeptStart
from medfl.study import Study


def initial_arrays(study: Study, start: KeptStart | None) -> Arrays:
    """Return all tensors of the network in training as they are at the start, in the order of `get_arrays`.

    Parameters
    ----------
    study : Study
        Its seed draws what the first model does not have: layers that stay at the sites, and low-rank updates.
    start : KeptStart, optional
        The first model, as of `medfl.clients.start.kept_start.kept_start`; None where the seed alone decides.

    Raises
    ------
    ExchangeError
        ``START-MISSING`` when the first model is not there.
    """
    return get_arrays(build_training_network(study)) | (start.load() if start else {})


@lru_cache(maxsize=4)
def initial_kept_layers(study: Study, arm: str = "federated", start: KeptStart | None = None) -> Arrays:
    """Return the layers that are not exchanged as every site starts with them; parameters as of `initial_arrays`."""
    shared = set(shared_names(study, build_training_network_without_memory(study), arm))
    return {name: tensor for name, tensor in initial_arrays(study, start).items() if name not in shared}


def initial_shared(study: Study, arm: str = "federated", start: KeptStart | None = None) -> Arrays:
    """Return the tensors that are exchanged as the first message of an arm has them; parameters as of `initial_arrays`."""
    arrays = initial_arrays(study, start)
    return {name: arrays[name] for name in shared_names(study, build_training_network_without_memory(study), arm)}


def frozen_arrays(study: Study, start: KeptStart | None = None) -> Arrays:
    """Return the tensors that are neither trained nor a site's own, in the order of `get_arrays`."""
    local = local_names(study, build_training_network_without_memory(study))
    return {name: tensor for name, tensor in initial_kept_layers(study, start=start).items() if name not in local}
