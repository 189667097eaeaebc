"""Measurement of a program from outside: wall time, processor time and memory of all its processes together (Linux)."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_TICKS = os.sysconf("SC_CLK_TCK")
_EVERY = 0.05  # seconds between looks


@dataclass(frozen=True)
class Usage:
    """Cost of a program.

    Parameters
    ----------
    wall, cpu : float
        Seconds.
    pss : float
        Highest sum over the processes of the proportional set size, MiB.
    output : str
        What it printed.
    began : float
        Time when it was started, seconds since the epoch.
    main_pss : float
        Highest proportional set size of its first process, MiB.
    samples : tuple of (float, float, float)
        Time since the epoch, and the processor seconds until then, of its first process and of all others.
    """

    wall: float
    cpu: float
    pss: float
    output: str
    began: float
    main_pss: float = 0.0
    samples: tuple[tuple[float, float, float], ...] = ()

    def cpu_between(self, begin: float, end: float, *, main: bool) -> float:
        """Return the processor seconds of the first process, or of all others, between two times since the epoch."""
        times, *columns = zip(*self.samples, strict=True)
        first, last = np.interp((begin, end), times, columns[0 if main else 1])
        return float(last - first)


def watch(command: Sequence[str], environment: dict[str, str]) -> Usage:
    """Run a program to its end and measure it and every process that it starts.

    Raises
    ------
    RuntimeError
        When the program fails.
    """
    began, started = time.time(), time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
    cpu: dict[int, float] = {}
    samples: list[tuple[float, float, float]] = []
    peak, main_peak, looks = 0.0, 0.0, 0
    while process.poll() is None:
        members = list(_session(process.pid))
        cpu |= dict(members)
        main = cpu.get(process.pid, 0.0)
        samples.append((time.time(), main, sum(cpu.values()) - main))
        if looks % 5 == 0:
            sizes = {pid: _pss(pid) for pid, _ in members}
            peak, main_peak = max(peak, sum(sizes.values())), max(main_peak, sizes.get(process.pid, 0.0))
        looks += 1
        time.sleep(_EVERY)
    wall = time.perf_counter() - started
    output = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return Usage(wall, sum(cpu.values()), peak, output, began, main_peak, tuple(samples))


def _session(leader: int) -> Iterator[tuple[int, float]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == leader:  # session
                yield int(entry.name), (int(fields[11]) + int(fields[12])) / _TICKS


def _pss(pid: int) -> float:
    try:
        lines = (Path("/proc") / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)
