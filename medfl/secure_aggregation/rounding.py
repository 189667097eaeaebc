"""Stochastic rounding whose chance is a function of the site's secret: an attempt that is repeated repeats its bits."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from medfl.secure_aggregation.attempt import Attempt
from medfl.secure_aggregation.keystream import Keystream, derive_key

_DRAW = np.dtype("<u4")


class TensorRounding:
    """Rounding of the values of one tensor, in their order: each is rounded by the draw of its position.

    Parameters
    ----------
    secret : bytes
        Secret of the site; only a key for this use is derived from it.
    attempt : Attempt
        What the rounding is for.
    tensor : str
        Name of the tensor.
    """

    def __init__(self, secret: bytes, attempt: Attempt, tensor: str) -> None:
        self._stream = Keystream(derive_key(secret, "rounding", {"attempt": asdict(attempt), "tensor": tensor}))

    def round(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Round the next values of the tensor up or down, to each neighbour with the probability that keeps the mean.

        Parameters
        ----------
        values : ndarray of float64, shape (n,)
            The values; they are overwritten.
        """
        draws = np.frombuffer(self._stream.read(_DRAW.itemsize * values.size), _DRAW)
        values += draws * 2.0**-32
        return np.floor(values, out=values)
