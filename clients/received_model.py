"""Checks of what a hospital received that need none of its data: their codes may leave, and help whoever runs the server."""

from __future__ import annotations

from functools import lru_cache

from flwr.app import ArrayRecord, RecordDict

from medfl.clients import node_cache
from medfl.clients.networks import layers
from medfl.clients.networks.arrays import check_finite
from medfl.clients.networks.tensors import trainable
from medfl.clients.received_extras import check_configuration, check_extras
from medfl.errors import ExchangeError
from medfl.messages import records
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
        ``MODEL-NONFINITE`` when any value is not a number; ``RECORD-UNKNOWN``, ``RECORD-MISSING`` and ``CONTROL-MISMATCH``
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
    check_extras(received, arrays, trainable(node_cache.get_network(study)), item, study)
    for tensors in (arrays, *received.values()):
        check_finite(tensors)
    if item.kind == "train" and (study.compression.codec == "none" or item.arm != "federated"):  # it is sent back as it came
        policy_checks.check_reply_size(policy, model.count_bytes())


@lru_cache(maxsize=8)
def _layout_of(study: Study, arm: str) -> str:
    net = node_cache.get_network(study)
    return records.layout_hash(layers.shared_arrays(study, net, arm))
