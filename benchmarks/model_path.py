"""Calibration of the watch over a model's path: the largest figures of honest runs, as shares of the limits.

Every strategy on one small study, then FedAvg, SCAFFOLD, FedAdam and FedDyn on the sample studies for three rounds, in this
process. ``python -m benchmarks.model_path`` prints a line for each run; ``--samples DATA`` adds the sample studies that have
data below that folder.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from medfl.data.synthetic.hospitals import make_brain_hospitals, make_nodule_images
from medfl.simulation.simulated_run import plan_simulation
from tests.clients.watched_run import SGD, Largest, conduct_watched, list_runs
from tests.studies import NODULE_STUDY

_SAMPLES = {
    "breast-ultrasound": "breast-ultrasound",
    "chest-xray-view": "chest-xray-hospitals",
    "hippocampus": "hippocampus",
    "lungs": "chest-xray-hospitals",
}
_ON_SAMPLES = ("fedavg", "scaffold", "fedadam", "feddyn")


def run(study: Path, data: Path, out: Path, changes: dict[str, Any]) -> Largest:
    """Run a study whose hospitals watch, and return the largest figures."""
    simulation = plan_simulation(study, [data], out / "runs", changes | {"simulation.store": str(out / "store")})
    with tempfile.TemporaryDirectory(dir=out) as budgets:
        return conduct_watched(dict(simulation.run_config), len(simulation.sites), Path(budgets))


def print_figures(name: str, largest: Largest, seconds: float) -> None:
    """Print a line for each kind of figure."""
    for what, (share, where) in largest.items():
        print(f"{name:24} {what:18} {share:8.4f} of the limit  {where}", flush=True)
    print(f"{name:24} {seconds:.0f} s", flush=True)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=Path, help="folder of the real data sets")
    parser.add_argument("--only", default="", help="names of runs, separated by commas")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0, help="local steps on the sample studies, to be faster")
    given = parser.parse_args()
    os.environ["MEDFL_SIMULATION"] = "1"
    logging.getLogger("flwr").setLevel(logging.WARNING)
    only = [name for name in given.only.split(",") if name]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        _print_small(out, only, given.rounds or 5)
        if given.samples:
            _print_samples(out, given.samples, only, given.rounds or 3, given.steps)


def _print_small(out: Path, only: list[str], rounds: int) -> None:
    (out / "nodule").mkdir()
    (out / "nodule" / "pyproject.toml").write_text(NODULE_STUDY)
    data = make_nodule_images(out / "nodules", hospitals=3, patients=12, seed=1)
    uneven = make_nodule_images(out / "uneven", hospitals=3, patients=80, seed=2)
    for name in ("hospital-2", "hospital-3"):  # one large hospital beside small ones
        shutil.rmtree(uneven / name)
        shutil.copytree(data / name, uneven / name)
    for name, changes in (list_runs() | {"uneven": {}, "uneven+sgd": SGD}).items():
        if not only or name in only:
            begun, source = time.monotonic(), uneven if "uneven" in name else data
            print_figures(name, run(out / "nodule", source, out, {"rounds": rounds, **changes}), time.monotonic() - begun)


def _print_samples(out: Path, samples: Path, only: list[str], rounds: int, steps: int) -> None:
    configs = Path(__file__).parents[1] / "sample_configs"
    for study in sorted(configs.iterdir()):
        for strategy in _ON_SAMPLES:
            if only and f"{study.name}+{strategy}" not in only and study.name not in only:
                continue
            changes: dict[str, Any] = {"rounds": rounds, "strategy.name": strategy}
            if strategy == "scaffold":
                changes |= SGD
            if steps:
                changes["training.local-steps"] = steps
            brains = study.name == "brain-tissue"  # which are made at the first need, and kept
            data = make_brain_hospitals(out / "brains") if brains else samples / _SAMPLES[study.name]
            begun = time.monotonic()
            print_figures(f"{study.name}+{strategy}", run(study, data, out, changes), time.monotonic() - begun)


if __name__ == "__main__":
    main()
