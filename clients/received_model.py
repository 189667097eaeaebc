"""Checks of what a hospital received that need none of its data: their codes may leave, and help whoever runs the server."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

from flwr.app import ArrayRecord, RecordDict

from medfl.clients import node_cache
from medfl.clients.networks import layers
from medfl.clients.networks.arrays import check_finite, get_arrays
from medfl.clients.networks.network_builders import build_network
from medfl.clients.networks.tensors import trainable
from medfl.clients.received_extras import check_configuration, check_extras
from medfl.errors import ExchangeError
from medfl.messages import records
from medfl.messages.array_digest import digest_arrays
from medfl.messages.models import Tensors
from medfl.privacy import policy_checks
from medfl.privacy.questions import Item
from medfl.site import Policy
from medfl.study import Study


def check_received(content: RecordDict, item: Item, study: Study, policy: Policy) -> None:
    """Check the model of a message before any work on it.

    Parameters
    ----------
    content : RecordDict
        What was received.
    item : Item
        What is asked.
    study : Study
        The approved study.
    policy : Policy
        Policy of the site.

    Raises
    ------
    ExchangeError
        ``ARRAYS-MISSING``, ``ARRAYS-UNREADABLE``; ``MODEL-MISMATCH`` when the model is not of the study's network;
        ``MODEL-NONFINITE`` when any value is not a number; ``START-OTHER`` when the first model has another digest than
        the study names; ``RECORD-UNKNOWN``, ``RECORD-MISSING`` and ``CONTROL-MISMATCH``
        for what came with it (`medfl.clients.received_extras`).
    PolicyError
        ``POLICY-METRICS`` and ``POLICY-BYTES``, where no answer could leave.
    """
    check_configuration(content)
    if item.kind in ("join", "fingerprint"):
        return
    if item.kind == "train":
        policy_checks.check_weight(policy)
    model = content.get(records.ARRAYS)
    if not isinstance(model, ArrayRecord):
        raise ExchangeError("ARRAYS-MISSING", "the message holds no model.", "Both sides must run the same version of medfl.")
    received = {name: records.array_views(record) for name, record in content.items() if isinstance(record, ArrayRecord)}
    arrays = received.pop(records.ARRAYS)
    if records.layout_hash(arrays) != _layout_of(study, item.arm):
        what = f"the {len(model)} received arrays do not fit the network of the study."
        fix = "Both sides must run the same study and the same version of medfl and MONAI."
        raise ExchangeError("MODEL-MISMATCH", what, fix)
    if item.kind == "train" and item.round == 1 and study.start.is_given:
        _check_start(arrays, item, study)
    check_extras(received, arrays, trainable(node_cache.get_network(study)), item, study)
    for tensors in (arrays, *received.values()):
        check_finite(tensors)
    if item.kind == "train" and (study.compression.codec == "none" or item.arm != "federated"):  # it is sent back as it came
        policy_checks.check_reply_size(policy, model.count_bytes())


def _check_start(arrays: Tensors, item: Item, study: Study) -> None:
    """Hold the first model against the digest in the study, which needs neither the file of the weights nor any data."""
    local = layers.local_names(study, node_cache.get_network(study)) if item.arm == "local" else ()
    is_named = digest_arrays({name: array for name, array in arrays.items() if name not in local}) == study.start.arrays
    if not is_named or not _is_seeded(arrays, local, study):
        what = "the first model is not the one that the study names in start.arrays."
        raise ExchangeError("START-OTHER", what, "Ask who runs the server which weights the study began with.")


def _is_seeded(arrays: Tensors, names: Collection[str], study: Study) -> bool:
    """Return whether tensors that the digest leaves out, since they stay at hospitals, are those of the seed, bit by bit."""
    if not names:
        return True
    seeded = get_arrays(build_network(study))
    return all(arrays[name].tobytes() == seeded[name].tobytes() for name in names)


@lru_cache(maxsize=8)
def _layout_of(study: Study, arm: str) -> str:
    net = node_cache.get_network(study)
    return records.layout_hash(layers.shared_arrays(study, net, arm))
