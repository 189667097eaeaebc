"""The vector that is masked and summed: unsigned integers that wrap."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medfl.errors import SecureAggregationError
from medfl.secure_aggregation.layout import VectorLayout


@dataclass
class ModularVector:
    """Parameters and counters of one site, or of a sum.

    Parameters
    ----------
    parameters : ndarray of uint16 or uint32, shape (n,)
        The tensors one after the other, modulo 2**16 or 2**32.
    counters : ndarray of uint64, shape (k,)
        Counts and weights, modulo 2**64.
    """

    parameters: NDArray[np.unsignedinteger]
    counters: NDArray[np.uint64]

    def add(self, other: ModularVector) -> None:
        """Add another vector to this one, in place."""
        self.parameters += other.parameters
        self.counters += other.counters

    def digest(self) -> str:
        """Return the SHA-256 of the values, hexadecimal."""
        hashed = hashlib.sha256()
        for part in self.parts():
            hashed.update(part)
        return hashed.hexdigest()

    def parts(self) -> tuple[memoryview, memoryview]:
        """Return the bytes of parameters and counters, little-endian."""
        little = (np.ascontiguousarray(a, a.dtype.newbyteorder("<")) for a in (self.parameters, self.counters))
        first, second = (array.view(np.uint8).data for array in little)
        return first, second

    def require(self, layout: VectorLayout) -> None:
        """Refuse a vector of another type or size than the layout's: ``SECAGG-LAYOUT``."""
        parameters, counters = self.parameters, self.counters
        if not (isinstance(parameters, np.ndarray) and isinstance(counters, np.ndarray)):
            raise _refuse()
        if (parameters.dtype, counters.dtype) != (layout.dtype, np.dtype(np.uint64)):
            raise _refuse()
        if parameters.shape != (layout.size,) or counters.shape != (len(layout.all_counters),):
            raise _refuse()


def zero_vector(layout: VectorLayout) -> ModularVector:
    """Return the vector of a sum of nobody."""
    return ModularVector(np.zeros(layout.size, layout.dtype), np.zeros(len(layout.all_counters), np.uint64))


def read_vector(content: bytes, layout_sizes: tuple[int, int, int]) -> ModularVector:
    """Return the vector that `ModularVector.parts` wrote.

    Parameters
    ----------
    content : bytes
        Both parts, one after the other.
    layout_sizes : tuple of int
        Bits, parameters and counters.

    Raises
    ------
    ValueError
        When there are more or fewer bytes.
    """
    bits, size, counters = layout_sizes
    cut = size * bits // 8
    if len(content) != cut + 8 * counters:
        raise ValueError("another size")
    parameters = np.frombuffer(content, f"<u{bits // 8}", size)
    return ModularVector(
        parameters.astype(parameters.dtype.newbyteorder("="), copy=False),
        np.frombuffer(content, "<u8", offset=cut).astype(np.uint64),
    )


def _refuse() -> SecureAggregationError:
    what = "a vector has another type or size than the layout of the round."
    return SecureAggregationError("SECAGG-LAYOUT", what, "Both sides need the same version of medfl and the same model.")
