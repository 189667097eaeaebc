"""The tensors of a network as named arrays, each tensor once, and back.

A network may list one layer under two names: MONAI's DynUNet has 92 keys for 47 tensors. Means, noise and sums over sites are
right only when each tensor counts once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medfl.errors import ExchangeError
from medfl.messages.records import layout_hash

Arrays = dict[str, NDArray[np.generic]]


def get_arrays(net: nn.Module) -> Arrays:
    """Copy the distinct tensors of a network, in the order of their first occurrence in ``state_dict()``.

    Parameters
    ----------
    net : torch.nn.Module
        Network, on any device.

    Returns
    -------
    dict of str to ndarray
        A C-contiguous copy of each tensor, under the first of its names.
    """
    return {name: tensor.detach().cpu().contiguous().numpy().copy() for name, tensor in distinct_tensors(net).items()}


def distinct_tensors(net: nn.Module) -> dict[str, torch.Tensor]:
    """Return the distinct tensors of a network, not copied, each under the first of its names in ``state_dict()``."""
    state = net.state_dict(keep_vars=True)
    return {name: state[name] for name, first in first_names(net).items() if name == first}


def first_names(net: nn.Module) -> dict[str, str]:
    """Return every name in ``state_dict()`` with the first name of the same tensor, which is itself where it has one name."""
    first: dict[Any, str] = {}
    names: dict[str, str] = {}
    for name, tensor in net.state_dict(keep_vars=True).items():
        # a tensor without memory, of which only the shape is asked, is told from another by itself
        key = id(tensor) if tensor.is_meta else (tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
        names[name] = first.setdefault(key if tensor.numel() else name, name)
    return names


def load_arrays(net: nn.Module, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write arrays into a network; a tensor with two names is one memory and needs one array.

    Parameters
    ----------
    net : torch.nn.Module
        Changed in place, on its device.
    arrays : mapping of str to ndarray
        Arrays in the order in which `get_arrays` of the same network returns them.

    Raises
    ------
    ExchangeError
        ``MODEL-MISMATCH`` when names, order, shapes or dtypes differ; ``MODEL-NONFINITE`` when a value is not a number.
    """
    check_layout(net, arrays)
    check_finite(arrays)
    with torch.no_grad():
        for name, tensor in distinct_tensors(net).items():
            # a received array may be read-only, and torch warns of those
            array = arrays[name]
            tensor.copy_(torch.from_numpy(array if array.flags.writeable else array.copy()))


def check_layout(net: nn.Module, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Raise when arrays are not those of a network, which may be on any device, "meta" too.

    Raises
    ------
    ExchangeError
        ``MODEL-MISMATCH`` when names, order, shapes or dtypes differ.
    """
    tensors = distinct_tensors(net)
    if layout_hash(arrays) != _hash_layout(tensors):
        raise ExchangeError(
            "MODEL-MISMATCH",
            f"the {len(arrays)} received arrays do not fit the {len(tensors)} tensors of the network.",
            "Both sides must run the same study and the same version of medfl and MONAI.",
        )


def check_finite(arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Raise when an array has a value that is infinite or not a number.

    Raises
    ------
    ExchangeError
        ``MODEL-NONFINITE``, with the number of arrays concerned.
    """
    nonfinite = [name for name, a in arrays.items() if np.issubdtype(a.dtype, np.inexact) and not np.isfinite(a).all()]
    if nonfinite:
        raise ExchangeError(
            "MODEL-NONFINITE",
            f"{len(nonfinite)} of {len(arrays)} tensors hold values that are not finite, the first is {nonfinite[0]!r}.",
            "Lower optimizer.learning-rate or set optimizer.clip-norm.",
        )


def _hash_layout(tensors: Mapping[str, torch.Tensor]) -> str:
    # one value stands for all of a tensor: hashing needs none, a model on a GPU is not fetched, and no memory is taken
    kinds = {name: torch.empty(0, dtype=tensor.dtype).numpy().dtype for name, tensor in tensors.items()}
    return layout_hash({name: np.broadcast_to(np.empty((), kinds[name]), t.shape) for name, t in tensors.items()})
