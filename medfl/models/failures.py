"""What an error in one case of a prediction means: for that case alone, or for all that follow."""

from __future__ import annotations

import torch

from medfl.data.findings import Finding
from medfl.data.mask_formats import DISK_CODES
from medfl.errors import DataError, MedflError
from medfl.system.files import is_disk_full
from medfl.system.memory import is_out_of_memory

_CODES_OF_ALL = (*DISK_CODES, "STORE-UNWRITABLE")


def concerns_all(error: Exception) -> bool:
    """Return whether an error would come again with the next case: of the disk, the memory, the store, or the device."""
    if isinstance(error, MedflError):
        return error.code in _CODES_OF_ALL
    is_full = isinstance(error, OSError) and is_disk_full(error)
    return is_full or is_out_of_memory(error) or isinstance(error, torch.OutOfMemoryError) or _is_of_device(error)


def _is_of_device(error: Exception) -> bool:
    """Return whether a GPU failed, and so refuses whatever follows in this process; before torch 2.8 only words say so."""
    kind = getattr(torch, "AcceleratorError", None)
    is_known = kind is not None and isinstance(error, kind)
    return is_known or (isinstance(error, RuntimeError) and str(error).startswith(("CUDA error", "HIP error")))


def describe_failure(error: Exception, case: str) -> Finding:
    """Return why a case is left out. Of an error of a library only its kind is told: its text may hold a path or a name."""
    if isinstance(error, MedflError):
        return Finding.from_error(error, case)
    what = f"a library failed on this image ({type(error).__name__})."
    fix = "Look at the image with another program; if many fail so, tell the makers of medfl."
    return Finding.from_error(DataError("PRED-FAILED", what, fix), case)
