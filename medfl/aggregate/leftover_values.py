"""Values that wait for the end of a round in a temporary file."""

from __future__ import annotations

import contextlib
import struct
import tempfile
import weakref
from typing import IO

import numpy as np
from numpy.typing import NDArray

from medfl.messages.models import Tensor
from medfl.system.files import translate_disk_errors

_HEADER = struct.Struct("<qd")  # number of values, weight
_MEMORY = 2**20  # bytes that are kept in memory before there is a file


class LeftoverValues:
    """Records of weighted values at some places of a block.

    Up to a MiB stays in memory; more goes to a file without a name in the folder of temporary files (``TMPDIR``).

    Examples
    --------
    >>> leftovers = LeftoverValues()
    >>> record = leftovers.put(3.0, np.array([0, 2]), np.array([0.5, 0.25]))
    >>> weight, places, values = leftovers.read(record)
    >>> weight, places.tolist(), values.tolist()
    (3.0, [0, 2], [0.5, 0.25])
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_MEMORY)  # noqa: SIM115 (closed with this object)
        weakref.finalize(self, _close, self._file)

    def put(self, weight: float, places: NDArray[np.integer], values: Tensor) -> int:
        """Append a record, and return where it begins.

        Raises
        ------
        RunError
            ``DISK-FULL`` or ``RUN-FOLDER`` when it cannot be written.
        """
        with translate_disk_errors("the replies of the round", "start the run again, or set TMPDIR to a larger disk"):
            record = self._file.seek(0, 2)
            self._file.write(_HEADER.pack(places.size, weight))
            self._file.write(places.astype(np.int32).tobytes())
            self._file.write(values.astype(np.float64).tobytes())
            self._file.flush()  # or a full disk would be noticed by whoever reads or closes the file
        return record

    def read(self, record: int) -> tuple[float, NDArray[np.int32], NDArray[np.float64]]:
        """Return weight, places and values of a record, given where it begins."""
        self._file.seek(record)
        count, weight = _HEADER.unpack(self._file.read(_HEADER.size))
        places = np.frombuffer(self._file.read(4 * count), np.int32)
        return weight, places, np.frombuffer(self._file.read(8 * count), np.float64)


def _close(file: IO[bytes]) -> None:
    with contextlib.suppress(OSError):  # what a full disk did not take
        file.close()
