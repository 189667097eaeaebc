"""Size of what a site sends after training, told without a weight of the network: of a bundle that nobody has approved yet."""

from __future__ import annotations

import math

import torch

from medfl.clients.networks.arrays import distinct_tensors
from medfl.clients.networks.layers import local_names, shared_names
from medfl.clients.networks.network_builders import build_network_without_memory
from medfl.clients.networks.tuning import build_training_network_without_memory
from medfl.study import Study

_BYTES = {"bf16": 2, "int8": 1}  # of a value, by codec
_SCALE_BYTES = 4  # int8: one for each tensor
_KEPT_BYTES = 8  # top-k: value and position


def count_update_bytes(study: Study) -> dict[str, int]:
    """Return the bytes of one trained model as it leaves, for each arm of a study, with what its algorithm sends beside it.

    Parameters
    ----------
    study : Study
        Names the network, the layers that are trained and those that stay, and the codec. An algorithm of another package may
        send more.

    Raises
    ------
    ConfigError
        When the study's arguments are not valid for the network.
    """
    net = build_training_network_without_memory(study)
    tensors = distinct_tensors(net)
    sent = {arm: [tensors[name] for name in shared_names(study, net, arm)] for arm in study.arms}
    return {
        arm: _count_bytes(study, each) if arm == "federated" else sum(tensor.nbytes for tensor in each)  # not compressed
        for arm, each in sent.items()
    }


def count_start_bytes(study: Study) -> int:
    """Return the bytes of the first model that a site gets whole as it joins, 0 where none comes then."""
    if not study.sends_start:
        return 0
    net = build_network_without_memory(study)
    local = local_names(study, net)
    return sum(tensor.nbytes for name, tensor in distinct_tensors(net).items() if name not in local)


def _count_bytes(study: Study, tensors: list[torch.Tensor]) -> int:
    floats = [tensor for tensor in tensors if tensor.is_floating_point()]
    values, whole = sum(tensor.numel() for tensor in floats), sum(tensor.nbytes for tensor in floats)
    codec = study.compression.codec
    if codec == "none":
        packed = whole
    elif codec == "top-k":
        packed = _KEPT_BYTES * min(values, math.ceil(study.compression.keep * values))
    else:
        packed = _BYTES[codec] * values + (_SCALE_BYTES * len(floats) if codec == "int8" else 0)
    control = whole if study.strategy.name == "scaffold" else 0
    return packed + control + sum(tensor.nbytes for tensor in tensors if not tensor.is_floating_point())
