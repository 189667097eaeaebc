"""Values that wait for the end of a round in a temporary file, in as many chains as there are blocks."""

from __future__ import annotations

import contextlib
import struct
import tempfile
import weakref
from collections.abc import Iterator
from typing import IO

import numpy as np
from numpy.typing import NDArray

from medfl.messages.models import Tensor
from medfl.system.files import translate_disk_errors

_HEADER = struct.Struct("<qqd")  # place of the chain's previous record (-1: none), number of values, weight
_MEMORY = 2**20  # bytes that are kept in memory before there is a file


class LeftoverValues:
    """Weighted values at some places of a block, each chain read back from its last record to its first.

    Up to a MiB stays in memory; more goes to a file without a name in the folder of temporary files (``TMPDIR``).

    Examples
    --------
    >>> leftovers = LeftoverValues()
    >>> last = leftovers.put(-1, 3.0, np.array([0, 2]), np.array([0.5, 0.25]))
    >>> [(weight, places.tolist(), values.tolist()) for weight, places, values in leftovers.read(last)]
    [(3.0, [0, 2], [0.5, 0.25])]
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_MEMORY)  # noqa: SIM115 (closed with this object)
        weakref.finalize(self, _close, self._file)

    def put(self, previous: int, weight: float, places: NDArray[np.integer], values: Tensor) -> int:
        """Append a record to the chain whose last record is `previous` (-1: to a new one), and return its place.

        Raises
        ------
        RunError
            ``DISK-FULL`` or ``RUN-FOLDER`` when it cannot be written.
        """
        with translate_disk_errors("the replies of the round"):
            place = self._file.seek(0, 2)
            self._file.write(_HEADER.pack(previous, places.size, weight))
            self._file.write(places.astype(np.int32).tobytes())
            self._file.write(values.astype(np.float64).tobytes())
            self._file.flush()  # or a full disk would be noticed by whoever reads or closes the file
        return place

    def read(self, last: int) -> Iterator[tuple[float, NDArray[np.int32], NDArray[np.float64]]]:
        """Yield weight, places and values of every record of a chain, given its last."""
        while last >= 0:
            self._file.seek(last)
            last, count, weight = _HEADER.unpack(self._file.read(_HEADER.size))
            places = np.frombuffer(self._file.read(4 * count), np.int32)
            yield weight, places, np.frombuffer(self._file.read(8 * count), np.float64)


def _close(file: IO[bytes]) -> None:
    with contextlib.suppress(OSError):  # what a full disk did not take
        file.close()
