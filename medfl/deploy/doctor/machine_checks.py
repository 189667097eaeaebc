"""Checks of the machine: what is installed, disk, memory, shared memory, GPU."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from medfl.deploy.doctor.check_result import CheckResult, grade
from medfl.deploy.doctor.installation_checks import check_installation
from medfl.system.memory import available_memory
from medfl.system.text import format_bytes

_GB = 1e9


def check_machine(folder: Path, *, trains: bool) -> Iterator[CheckResult]:
    """Check the machine.

    Parameters
    ----------
    folder : Path
        A folder on the disk that will be written to.
    trains : bool
        Whether models are trained here, which takes memory and perhaps a GPU.
    """
    yield from check_installation()
    yield check_disk(folder)
    yield check_memory(trains=trains)
    if trains:
        yield from check_shared_memory()
        yield check_gpu()


def check_disk(folder: Path) -> CheckResult:
    """Check the free space on the disk of a folder."""
    free = shutil.disk_usage(folder).free / _GB
    return grade(
        "DISK", free, 20, 2, f"{format_bytes(free * _GB)} are free on the disk.", "Free some space, or move the folder."
    )


def check_memory(*, trains: bool) -> CheckResult:
    """Check the free memory."""
    free = available_memory() / _GB
    warn, fail = (8, 2) if trains else (4, 1)
    return grade(
        "MEMORY",
        free,
        warn,
        fail,
        f"{format_bytes(free * _GB)} of memory are available.",
        "End other programs, or use a larger machine.",
    )


def check_shared_memory(folder: Path = Path("/dev/shm")) -> Iterator[CheckResult]:
    """Check the memory that processes share; a container often has 64 MB."""
    if folder.is_dir():
        size = shutil.disk_usage(folder).total / _GB
        fix = "Start the container with '--shm-size=8g' or '--ipc=host'."
        yield grade("SHARED-MEMORY", size, 1, 0.2, f"{format_bytes(size * _GB)} of shared memory.", fix)


def check_gpu() -> CheckResult:
    """Ask torch for GPUs, in a separate process: the import takes seconds, and a broken driver may end the process."""
    code = (
        "import json, torch; n = torch.cuda.device_count() if torch.cuda.is_available() else 0;"
        "print(json.dumps([[torch.cuda.get_device_name(k), torch.cuda.mem_get_info(k)[0]] for k in range(n)]))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    try:
        gpus = json.loads(done.stdout)
    except json.JSONDecodeError:
        return CheckResult(
            "GPU", "error", "torch cannot be imported.", "Install it as the README says, and read its own error message."
        )
    if not gpus:
        has_driver = shutil.which("nvidia-smi") is not None
        fix = "This torch was built without CUDA, or does not match the driver." if has_driver else ""
        consequence = ", though an NVIDIA driver is installed." if has_driver else "; training runs on the CPU."
        what = f"No GPU that torch can use{consequence}"
        return CheckResult("GPU", "warning", what, fix or "Fine for small studies; see 'resources.device' in site.toml.")
    what = f"GPU: {'; '.join(f'{name}, {format_bytes(free)} free' for name, free in gpus)}."
    return grade("GPU", max(free for _, free in gpus) / _GB, 4, 1, what, "End the programs that use its memory.")
