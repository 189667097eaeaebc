"""Memory that the processes of this machine, or of this container, may still take."""

from __future__ import annotations

from pathlib import Path

import psutil

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def available_memory() -> int:
    """Return the bytes that are free: those of the machine, or what the limits of the container leave."""
    machine = psutil.virtual_memory().available
    return min([machine, *(max(0, limit - used) for limit, used in _cgroup_limits())])


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory was lacking: torch has a `RuntimeError` for it."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "allocate memory" in str(error))


def total_memory() -> int:
    """Return the bytes that there are: those of the machine, or the limit of the container where it is lower."""
    return min([psutil.virtual_memory().total, *(limit for limit, _ in _cgroup_limits())])


def _cgroup_limits() -> list[tuple[int, int]]:
    """Return limit and use of each group of processes that this one is in and that has a limit; none but on Linux."""
    limits = []
    for folder in _cgroup_folders():
        for limit_file, usage_file in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            limit, used = _read_number(folder / limit_file), _read_number(folder / usage_file)
            if limit is not None and used is not None:
                limits.append((limit, used - (_read_page_cache(folder) or 0)))
    return limits


def _cgroup_folders() -> list[Path]:
    """Return the folders of this process's groups and of those around them (man 7 cgroups)."""
    try:
        lines = _OWN_CGROUPS.read_text().splitlines()
    except OSError:
        return []
    folders: set[Path] = set()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            root = _CGROUPS / controllers
            # in a container the path is often that of the host: its last existing part is the container's own group
            own = root / path.lstrip("/")
            folders |= {root, *(group for group in (own, *own.parents) if group.is_relative_to(root))}
    return sorted(folders)


def _read_number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # missing, or "max"
        return None


def _read_page_cache(folder: Path) -> int | None:
    """Return the bytes of files in memory, which the kernel gives up when others need them."""
    try:
        words = (folder / "memory.stat").read_text().split()
    except OSError:
        return None
    stated = dict(zip(words[::2], words[1::2], strict=False))
    return int(stated.get("total_inactive_file") or stated.get("inactive_file") or 0)
