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
from medfl.clients.start.initial_layers import initial_shared
from medfl.clients.start.kept_start import KeptStart, kept_start, other_start
from medfl.errors import ExchangeError
from medfl.messages import records
from medfl.messages.array_digest import digest_arrays
from medfl.messages.models import Tensors
from medfl.privacy import policy_checks
from medfl.privacy.questions import Item
from medfl.site import Site
from medfl.study import Study


def check_received(content: RecordDict, item: Item, study: Study, site: Site) -> None:
    """Check the model of a message before any work on it.

    Parameters
    ----------
    content : RecordDict
        What was received.
    item : Item
        What is asked.
    study : Study
        The approved study.
    site : Site
        The site.

    Raises
    ------
    ExchangeError
        ``ARRAYS-MISSING``, ``ARRAYS-UNREADABLE``; ``MODEL-MISMATCH`` when the model is not of the study's network;
        ``MODEL-NONFINITE`` when any value is not a number; ``START-OTHER`` when the first model is not the one that the study
        names; ``START-MISSING`` when what completes the model is not here any more; ``RECORD-UNKNOWN``, ``RECORD-MISSING`` and
        ``CONTROL-MISMATCH`` for what came with it (`medfl.clients.received_extras`), or with a question that needs no model.
    PolicyError
        ``POLICY-METRICS`` and ``POLICY-BYTES``, where no answer could leave.
    """
    policy = site.policy
    check_configuration(content)
    if item.kind in ("join", "fingerprint"):
        _check_no_model(content, item, study)  # but the first one, which `medfl.clients.start.kept_start` checks
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
    start = kept_start(study, site)
    if item.kind == "train" and item.round == 1 and study.start.is_given:
        _check_start(arrays, item, study, start)
    elif start is not None:
        start.load()  # lacking, it is told before the question counts
    check_extras(received, arrays, trainable(node_cache.get_network(study)), item, study)
    for tensors in (arrays, *received.values()):
        check_finite(tensors)
    if item.kind == "train" and (study.compression.codec == "none" or item.arm != "federated"):  # it is sent back as it came
        policy_checks.check_reply_size(policy, model.count_bytes())


def _check_no_model(content: RecordDict, item: Item, study: Study) -> None:
    allowed = {records.START} if item.kind == "join" and study.sends_start else set()
    if any(isinstance(record, ArrayRecord) and name not in allowed for name, record in content.items()):
        what = f"the message asks for {item.kind} and holds a model, which it needs not."
        raise ExchangeError("RECORD-UNKNOWN", what, "Ask who runs the server.")


def _check_start(arrays: Tensors, item: Item, study: Study, start: KeptStart | None) -> None:
    """Hold the first model against the digest in the study, which needs neither the file of the weights nor any data."""
    if start is not None:  # it came whole before, and this is a part of it
        first = initial_shared(study, item.arm, start)
        if any(arrays[name].tobytes() != tensor.tobytes() for name, tensor in first.items()):
            raise other_start()
        return
    local = layers.local_names(study, node_cache.get_network(study)) if item.arm == "local" else ()
    is_named = digest_arrays({name: array for name, array in arrays.items() if name not in local}) == study.start.arrays
    if not is_named or not _is_seeded(arrays, local, study):
        raise other_start()


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
