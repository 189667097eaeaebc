"""Arrays of prepared cases, memory-mapped from the store and checked when a process first uses them."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfl.data.store.checksums import checksum_array
from medfl.errors import DataError

Array = NDArray[Any]
Meta = dict[str, Any]  # the content of a case's meta.json

_verified: dict[str, tuple[int, int, str]] = {}  # inode, time of change and checksum of files found to be right, by path


def map_array(folder: str, name: str, meta: Meta) -> Array:
    """Map one array of a case, read-only, and check that it is what was written if this process has not yet done so.

    Parameters and errors are those of `open_array`.

    Raises
    ------
    DataError
        ``STORE-DAMAGED``.
    """
    array, checksum = open_array(folder, name, meta), meta["files"][name]["checksum"]
    if not isinstance(array, np.memmap):
        return array
    path = os.path.join(folder, name)
    facts = os.stat(path)
    mark = facts.st_ino, facts.st_mtime_ns, checksum
    if _verified.get(path) != mark:
        if checksum_array(array) != checksum:
            raise damaged_error()
        _verified[path] = mark
    return array


def open_array(folder: str, name: str, meta: Meta) -> Array:
    """Map one array of a case, read-only, with the shape in its ``meta.json``.

    Parameters
    ----------
    folder : str
        Folder of the case.
    name : str
        File name, for example ``"image.npy"``.
    meta : dict
        Content of the case's ``meta.json``.

    Raises
    ------
    DataError
        ``STORE-LOST`` when the file went away; ``STORE-DAMAGED`` when it is shorter than it was.
    """
    facts = meta["files"][name]
    shape, dtype = tuple(facts["shape"]), np.dtype(facts["dtype"])
    if 0 in shape:
        return np.zeros(shape, dtype)  # nothing to map
    try:
        return np.memmap(os.path.join(folder, name), dtype, "r", facts["offset"], shape)
    except OSError:  # its text holds the path
        error = DataError("STORE-LOST", "a file of the prepared data went away while it was in use.", "Prepare the data again.")
    except ValueError:
        error = damaged_error()
    raise error


def damaged_error() -> DataError:
    """Return the error for prepared data that is not what was written, and cannot be prepared anew on the spot."""
    what = "a file of the prepared data is damaged: it is not what was written."
    return DataError("STORE-DAMAGED", what, "Prepare the data again; if it comes back, have the disk of the store checked.")
