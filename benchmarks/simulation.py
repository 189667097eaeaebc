"""A study in the embedded engine against a plain PyTorch loop that takes the same steps with as many processes.

With ``--sites 50,200,1000`` instead, what a visit costs in simulations of so many sites.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.ndimage import gaussian_filter

from benchmarks.many_sites import KINDS, measure_many
from benchmarks.measure import Usage, watch

SITES, PATIENTS, EDGE, ROUNDS, PROCESSES = 4, 16, 48, 6, 2

STUDY = """
[project]
name = "benchmark"
version = "1.0.0"
[tool.flwr.app]
publisher = "medfl"
[tool.flwr.app.components]
serverapp = "medfl.server_app:app"
clientapp = "medfl.client_app:app"
[tool.flwr.app.config]
name = "benchmark"
rounds = {rounds}
[tool.flwr.app.config.task]
kind = "segmentation"
dimension = 3
modality = "MR"
classes = "background,shell,core"
[tool.flwr.app.config.splits]
validation = 0.25
test = 0.0
[tool.flwr.app.config.network]
name = "unet"
channels = "16,32,64"
[tool.flwr.app.config.loss]
name = "dice-ce"
[tool.flwr.app.config.training]
batch-size = 2
"""

SITE = 'name = "{name}"\n[policy]\nmin-count = 0\nmax-excluded = 0.0\n'


def make(folder: Path) -> None:
    """Write the hospitals: a core in a shell, of random place and size, in noise, at another contrast in each."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(EDGE)] * 3, indexing="ij"))
    for k in range(SITES):
        site = folder / f"site-{k}"
        for n in range(PATIENTS):
            centre, radius = rng.uniform(18, 30, (3, 1, 1, 1)), rng.uniform(8, 14)
            distance = np.sqrt(((grid - centre) ** 2).sum(0)) + gaussian_filter(rng.normal(size=grid.shape[1:]), 3) * 12
            label = (distance < radius).astype(np.uint8) + (distance < radius / 1.6)
            image = label * (60.0 - 10 * k) + gaussian_filter(rng.normal(size=label.shape), 1) * 90 + 100 * (k + 1)
            patient = site / f"p{n:02d}"
            patient.mkdir(parents=True)
            nib.save(nib.Nifti1Image(image.astype(np.float32), np.eye(4)), patient / "image.nii.gz")
            nib.save(nib.Nifti1Image(label.astype(np.uint8), np.eye(4)), patient / "label.nii.gz")
        (site / "site.toml").write_text(SITE.format(name=site.name))
        (site / "site.secret").write_bytes(b"benchmark" * 4)


def main(arguments: Sequence[str] = ()) -> None:
    """Measure both, print the ratios; or what many sites cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", help="numbers of sites, with commas between them")
    parser.add_argument("--kinds", default=",".join(KINDS), help="a folder for each site, or one index cut by a column")
    options = parser.parse_args(arguments)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MEDFL_STORE": ""}
    if options.sites:
        with tempfile.TemporaryDirectory() as scratch:
            measure_many([*map(int, options.sites.split(","))], options.kinds.split(","), Path(scratch), environment)
        return
    runs = int(os.environ.get("MEDFL_BENCH_RUNS", "3"))
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        make(root / "data")
        (root / "benchmark").mkdir()
        (root / "benchmark" / "pyproject.toml").write_text(STUDY.format(rounds=ROUNDS))
        pairs = [_pair(root, k, environment) for k in range(runs)]
    for what in ("wall", "cpu", "pss", "a later round", "start to first round's end"):
        ratios = sorted(pair[what] for pair in pairs)
        spread = f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"simulation / plain loop, {what}: {statistics.median(ratios):.2f} {spread}")
    ours, plain = (statistics.mean(pair[name] for pair in pairs) for name in ("medfl dice", "plain dice"))
    print(f"final Dice, mean over {runs} seeds: medfl {ours:.3f}, plain loop {plain:.3f}")


def _pair(root: Path, k: int, environment: dict[str, str]) -> dict[str, float]:
    environment = environment | {"MEDFL_STORE": str(root / f"store-{k}")}  # a fresh store: preparing counts
    out = root / f"runs-{k}"
    command = [sys.executable, "-m", "medfl", "simulate", str(root / "benchmark"), "--data", str(root / "data")]
    ours = watch([*command, "--out", str(out), "--workers", str(PROCESSES), "--seed", str(k), "--json"], environment)
    loop = [sys.executable, "-m", "benchmarks.plain_loop", str(root / "data"), str(ROUNDS), str(PROCESSES), str(k)]
    plain = watch(loop, environment)
    baseline = json.loads(plain.output)
    (history,) = out.glob("*/*/history.jsonl")
    events = [json.loads(line) for line in history.read_text().splitlines()]
    rounds = [e for e in events if e["event"] == "round"]
    first = datetime.fromisoformat(rounds[0]["time"]).timestamp() - ours.began
    return {
        **{what: _ratio(ours, plain, what) for what in ("wall", "cpu", "pss")},
        "a later round": statistics.mean(e["seconds"] for e in rounds[1:]) / statistics.mean(baseline["rounds"][1:]),
        "start to first round's end": first / (baseline["started"] + baseline["rounds"][0] - plain.began),
        "medfl dice": next(e["score"] for e in events if e["event"] == "scored"),
        "plain dice": baseline["dice"],
    }


def _ratio(ours: Usage, plain: Usage, what: str) -> float:
    return float(getattr(ours, what) / getattr(plain, what))


if __name__ == "__main__":
    main(sys.argv[1:])
