"""Digest of the arrays of a model, by which a hospital knows a first model that it cannot build itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def digest_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> str:
    """Return the SHA-256 of names, types, shapes and values of arrays in their order, hexadecimal.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        The tensors that are exchanged; their bytes count as little-endian ones.
    """
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name}|{array.dtype.name}|{array.shape}|".encode())
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1)
        digest.update(little.view(np.uint8).data)
    return digest.hexdigest()
