"""Device, precision, threads and seeds of a computation; all are restored when it is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from medfl.errors import TrainingError
from medfl.site import Site
from medfl.study import Study


@dataclass(frozen=True)
class Device:
    """A device, and the precision of the networks on it.

    Parameters
    ----------
    torch_device : torch.device
        Device of the tensors.
    amp_dtype : torch.dtype, optional
        16-bit type of mixed precision; none: float32 throughout.
    """

    torch_device: torch.device
    amp_dtype: torch.dtype | None

    def autocast(self) -> AbstractContextManager[Any]:
        """Return a context in which networks compute in mixed precision, if any."""
        return nullcontext() if self.amp_dtype is None else torch.autocast(self.torch_device.type, self.amp_dtype)

    def scaler(self) -> torch.amp.GradScaler:
        """Return a gradient scaler: float16 needs it, and with other types it does nothing."""
        return torch.amp.GradScaler(self.torch_device.type, enabled=self.amp_dtype == torch.float16)


def choose_device(study: Study, site: Site) -> Device:
    """Choose device and precision.

    Parameters
    ----------
    study : Study
        ``training.amp`` switches mixed precision off.
    site : Site
        ``resources.device`` names the device, or leaves the choice: CUDA, then Apple's MPS, then the CPU.

    Raises
    ------
    TrainingError
        ``DEVICE-MISSING`` when the machine has no such device.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    wanted = site.resources.device
    name = next(n for n in available if available[n]) if wanted == "auto" else wanted
    if not available[name]:
        present = ", ".join(n for n in available if available[n])
        raise TrainingError(
            "DEVICE-MISSING", f"this machine has no {name} device.", f"'resources.device' can be auto, {present} here."
        )
    amp_dtype = None
    if name == "cuda" and study.training.amp == "auto":
        amp_dtype = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return Device(torch.device(name), amp_dtype)


@contextmanager
def deterministic(study: Study, device: Device, seed: int) -> Iterator[None]:
    """Return a context in which results depend on the seed alone, and which leaves no trace.

    Inside, torch uses the study's number of threads (on which sums depend), its generators start from `seed`, and cuDNN uses
    deterministic algorithms only.

    Parameters
    ----------
    study : Study
        Gives ``training.threads``.
    device : Device
        Device of the computation.
    seed : int
        Not negative.
    """
    threads = torch.get_num_threads()
    cuda = [device.torch_device] if device.torch_device.type == "cuda" else []
    cudnn = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)
    with torch.random.fork_rng(devices=cuda), cudnn:
        torch.manual_seed(seed)
        torch.set_num_threads(study.training.threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
