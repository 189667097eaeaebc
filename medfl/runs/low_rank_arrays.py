"""Low-rank updates of a network as arrays: their sum with the weights, by which a model needs no such layers any more.

`medfl.clients.networks.low_rank` has the layers. A site is tested with the same sums that a model file gets, computed in
float64 and rounded once, so that a prediction with the file gives what the test gave.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medfl.messages.models import Tensor, Tensors
from medfl.study import Study

FACTOR_A, FACTOR_B = "lora_A", "lora_B"  # last parts of the names of the two factors, beside "weight"


def merge_low_rank(study: Study, arrays: Tensors) -> dict[str, Tensor]:
    """Return a model without factors: each is added to its weight. A model that has none is returned as it is, in a new dict.

    Parameters
    ----------
    study : Study
        Gives alpha; the rank is that of the factors.
    arrays : mapping of str to ndarray
        The model; weights and their factors are together in it.
    """
    return without_factors(arrays) | dict(_sums(study, arrays))


def without_factors(arrays: Tensors) -> dict[str, Tensor]:
    """Return the tensors of the plain network, nothing added to them."""
    return {name: tensor for name, tensor in arrays.items() if _last_part(name) not in (FACTOR_A, FACTOR_B)}


def fold_low_rank(study: Study, arrays: Tensors) -> Tensors:
    """Return a model of the same layout and outputs whose B are 0, as each product is in its weight already."""
    sums = dict(_sums(study, arrays))
    if not sums:
        return arrays
    zeros = {name: np.zeros_like(x) for name, x in arrays.items() if _last_part(name) == FACTOR_B}
    return {**arrays, **sums, **zeros}


def _sums(study: Study, arrays: Tensors) -> Iterator[tuple[str, Tensor]]:
    for name, b in arrays.items():
        if _last_part(name) != FACTOR_B:
            continue
        layer = name.removesuffix(FACTOR_B)
        weight, a = arrays[f"{layer}weight"], arrays[f"{layer}{FACTOR_A}"]
        scale = study.training.lora_alpha / len(a)
        product = np.matmul(b.astype(np.float64), a.astype(np.float64)).reshape(weight.shape)
        yield f"{layer}weight", np.asarray(weight + scale * product, weight.dtype)


def _last_part(name: str) -> str:
    return name.rpartition(".")[2]
