"""What a visit of a site and its joining cost in simulations of few and of many sites: processor time and wall time (Linux)."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.measure import Usage, watch

IMAGES, EDGE, ROUNDS, PROCESSES = 8, 32, 2, 2
KINDS = ("folders", "column")

STUDY = """
[project]
name = "many-sites"
version = "1.0.0"
[tool.flwr.app]
publisher = "medfl"
[tool.flwr.app.components]
serverapp = "medfl.server_app:app"
clientapp = "medfl.client_app:app"
[tool.flwr.app.config]
name = "many-sites"
rounds = {rounds}
[tool.flwr.app.config.task]
kind = "classification"
dimension = 2
modality = "XR"
classes = "dark,bright"
[tool.flwr.app.config.preprocessing]
size = "{edge},{edge}"
[tool.flwr.app.config.splits]
validation = 0.25
test = 0.25
[tool.flwr.app.config.network]
name = "resnet"
depth = 10
width = 0.0625
norm = "group"
[tool.flwr.app.config.loss]
name = "cross-entropy"
[tool.flwr.app.config.training]
batch-size = 4
"""

SITE = 'name = "{name}"\n[policy]\nmin-count = 0\nmax-excluded = 0.0\n'


@dataclass(frozen=True)
class Cost:
    """Cost of one thing done: milliseconds of wall time, of the workers' processors, and of the main process's."""

    wall: float
    workers: float
    main: float

    @property
    def cpu(self) -> float:
        """Milliseconds of processor time of all processes."""
        return self.workers + self.main

    def __str__(self) -> str:
        return f"{self.wall:.1f} ms wall, {self.workers:.1f} + {self.main:.1f} ms of processors (workers, main process)"


def measure_many(counts: Sequence[int], kinds: Sequence[str], root: Path, environment: dict[str, str]) -> None:
    """Run a small study with each number of sites, from folders and from one index, and print the costs and their ratios."""
    (root / "many-sites").mkdir()
    (root / "many-sites" / "pyproject.toml").write_text(STUDY.format(rounds=ROUNDS, edge=EDGE))
    for kind in kinds:
        few: Mapping[str, Cost] = {}
        for count in counts:
            costs, usage = _measure(root / f"{kind}-{count}", root / "many-sites", kind, count, environment)
            few = few or costs
            print(f"{kind}, {count} sites: {usage.wall:.0f} s, main process {usage.main_pss:.0f} MiB (PSS, highest)")
            for what, cost in costs.items():
                print(f"  {what}: {cost}; processors {cost.cpu / few[what].cpu:.2f} x {counts[0]} sites", flush=True)


def write_sites(folder: Path, kind: str, count: int) -> None:
    """Write the small images of all sites: a folder with a ``site.toml`` for each, or one index with a column ``site``."""
    rng = np.random.default_rng(0)
    rows: list[tuple[str, str, str, str]] = []
    for k in range(count):
        name = f"site-{k:04d}"
        images = folder / name if kind == "folders" else folder / "images" / name
        images.mkdir(parents=True)
        own = []
        for n in range(IMAGES):
            values = rng.normal(90 + 60 * (n % 2) + k % 7, 25, (EDGE, EDGE))
            Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).save(images / f"{n}.png")
            path = f"{n}.png" if kind == "folders" else f"images/{name}/{n}.png"
            own.append((f"{name}-p{n}", path, ("dark", "bright")[n % 2], name))
        if kind == "folders":
            (images / "site.toml").write_text(SITE.format(name=name))
            (images / "site.secret").write_bytes(b"benchmark" * 4)
            _write_index(images, own)
        rows += own
    if kind == "column":
        _write_index(folder, rows)


def _write_index(folder: Path, rows: Sequence[Sequence[str]]) -> None:
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("patient", "image", "label", "site"), *rows])


def _measure(folder: Path, study: Path, kind: str, count: int, environment: dict[str, str]) -> tuple[dict[str, Cost], Usage]:
    write_sites(folder / "data", kind, count)
    command = [sys.executable, "-m", "medfl", "simulate", str(study), "--data", str(folder / "data")]
    command += ["--out", str(folder / "runs"), "--workers", str(PROCESSES), "--json"]
    if kind == "column":
        command += ["--set", "simulation.partition=column", "--set", "simulation.column=site"]
    usage = watch(command, environment | {"MEDFL_STORE": str(folder / "store")})
    (history,) = (folder / "runs").glob("*/*/history.jsonl")
    return read_costs([json.loads(line) for line in history.read_text().splitlines()], usage), usage


def read_costs(events: Sequence[Mapping[str, Any]], usage: Usage) -> dict[str, Cost]:
    """Return what joining, a visit in a round after the first, and the test of one site cost."""
    joined, rounds = (_times(events, kind) for kind in ("joined", "round"))
    ends = _times(events, "end")
    sites = len(joined)
    return {
        "joining": _cost(usage, joined[0], joined[-1], sites - 1),
        "a first visit": _cost(usage, joined[-1], rounds[0], sites),
        "a visit": _cost(usage, rounds[0], rounds[-1], sites * len(list(pairwise(rounds)))),
        "closing evaluation and test": _cost(usage, rounds[-1], ends[0], sites),
    }


def _times(events: Sequence[Mapping[str, Any]], kind: str) -> list[float]:
    return [datetime.fromisoformat(event["time"]).timestamp() for event in events if event["event"] == kind]


def _cost(usage: Usage, begin: float, end: float, times: int) -> Cost:
    main, others = (usage.cpu_between(begin, end, main=main) for main in (True, False))
    return Cost(*(1000 * seconds / times for seconds in (end - begin, others, main)))
