"""Hospitals that annotate different structures: two know only the anterior hippocampus, two only the posterior one.

The masks of the partial hospitals are written without the other structure, so they truly do not know it. Four trainings are
compared: with full masks everywhere; with partial ones and the marginal loss; with partial ones in which what was not annotated
counts as background, as it does to plain FedAvg; and with the marginal loss and ConDistFL's distillation. The chosen model of
each is scored on the full masks of the same test patients.

``python -m benchmarks.partial_labels --data DATA/hippocampus`` prints the table as Markdown, where DATA/hippocampus is the
folder that `sample_configs/hippocampus` describes.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from medfl import metrics
from medfl.clients import session
from medfl.clients.networks.network_builders import build_network
from medfl.data.store.prepare import prepare
from medfl.runs import checkpoint_files
from medfl.simulation.simulated_run import SimulatedRun, plan_simulation

STUDY = Path(__file__).parent.parent / "sample_configs" / "hippocampus"
STRUCTURES = {"anterior": 1, "posterior": 2}  # value in the masks; the hospitals annotate them in turn
TRAININGS: dict[str, tuple[str, dict[str, Any]]] = {  # folder of the hospitals, and what is changed in the study
    "full": ("full", {}),
    "marginal": ("partial", {}),
    "background": ("silent", {}),
    "condist": ("partial", {"strategy.name": "condist"}),
}
NAMES = {
    "full": "everything annotated everywhere",
    "marginal": "partly annotated, marginal loss",
    "background": "partly annotated, the rest taken for background",
    "condist": "partly annotated, marginal loss and ConDistFL",
}
SITE = """name = "{name}"
[data]
layout = "csv"
image = "images/{{id}}.nii.gz"
label = "labels/{{id}}.nii.gz"
patient = "id"
{annotated}
[policy]
min-count = 0
max-excluded = 0.0
"""


def make(data: Path, out: Path) -> None:
    """Write the hospitals three times: with full masks, with partial ones, and with partial ones of which no site says so."""
    with open(data / "index.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for position, group in enumerate(sorted({row["group"] for row in rows})):
        structure = list(STRUCTURES)[position % len(STRUCTURES)]
        for kind in ("full", "partial", "silent"):
            site = out / kind / group
            for folder in ("images", "labels"):
                (site / folder).mkdir(parents=True)
            said = f'annotated-classes = "{structure}"' if kind == "partial" else ""
            (site / "site.toml").write_text(SITE.format(name=group, annotated=said))
            ids = [row["id"] for row in rows if row["group"] == group]
            (site / "index.csv").write_text("\n".join(["id", *ids]) + "\n")
            for name in ids:
                image, label = f"images/{name}.nii.gz", f"labels/{name}.nii.gz"
                shutil.copyfile(data / image, site / image)
                if kind == "full":
                    shutil.copyfile(data / label, site / label)
                else:
                    _keep_only(STRUCTURES[structure], data / label, site / label)


def _keep_only(value: int, source: Path, target: Path) -> None:
    mask = nib.load(source)
    values = np.asarray(mask.dataobj)
    nib.save(type(mask)(np.where(values == value, values, 0).astype(np.uint8), mask.affine, mask.header), target)


def scores(trained: SimulatedRun, full: SimulatedRun) -> dict[str, float]:
    """Return the scores (`medfl.metrics.derive`) of the chosen model on the full masks of all test patients."""
    arrays, _ = checkpoint_files.load(trained.run, "best")
    net = build_network(full.study)
    answers = [session.evaluate(full.study, site, prepare(site, full.study), net, arrays, "test") for site in full.sites]
    return metrics.derive(full.study, metrics.merge(full.study, answers))


def main() -> None:
    """Train, score and print the table."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--data", type=Path, required=True, help="folder with index.csv, images and labels")
    reader.add_argument("--trainings", nargs="*", default=list(TRAININGS), choices=list(TRAININGS))
    reader.add_argument("--rounds", type=int, default=20)
    reader.add_argument("--seeds", type=int, nargs="*", default=[1])
    reader.add_argument("--workers", type=int, default=0)
    asked = reader.parse_args()
    began = time.monotonic()
    print(f"hippocampus, {asked.rounds} rounds, seeds {', '.join(map(str, asked.seeds))}\n")
    columns = ("training", "Dice", *STRUCTURES, "HD95, mm", "Dice by seed")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        make(asked.data, root)
        for name in asked.trainings:
            print(_row(name, [_trained(root, name, seed, asked) for seed in asked.seeds]), flush=True)
    print(f"\n{time.monotonic() - began:.0f} seconds")


def _trained(root: Path, name: str, seed: int, asked: argparse.Namespace) -> dict[str, float]:
    kind, changes = TRAININGS[name]
    common = {"seed": seed, "rounds": asked.rounds, "simulation.partition": "auto", "simulation.store": str(root / "store")}
    plans = [plan_simulation(STUDY, [root / each], root / "runs" / name, {**common, **changes}) for each in (kind, "full")]
    plans[0].start(workers=asked.workers)
    return scores(*plans)


def _row(name: str, results: list[dict[str, float]]) -> str:
    means = [statistics.mean(each[key] for each in results) for key in ("dice", *(f"dice.{s}" for s in STRUCTURES), "hd95")]
    seeds = ", ".join(f"{each['dice']:.3f}" for each in results)
    return f"| {NAMES[name]} | {' | '.join(f'{mean:.3f}' for mean in means)} | {seeds} |"


if __name__ == "__main__":
    main()
