"""Prediction of four CT of 256 x 256 x 120 voxels: time against MONAI's own loop, and peak memory in float32 volumes.

Run ``python benchmarks/prediction.py [--quick]``. Both sides read NIfTI, prepare it in the same way, cover it with the same
windows of 96 voxels by the same network on the same number of threads, and write a mask on the grid of the file; each is a new
process with all code imported, whose network has seen a window. MONAI's loop is Compose, sliding_window_inference and Invertd,
written as in its tutorials. medfl starts with an empty store, so that its time holds preparing, hashing and syncing, too; the
second call reads the store. Memory is the highest resident size above that before the first case, over the bytes of one volume,
without those of the logits; glibc hands back what is freed from 1 MiB on, as it does with larger volumes anyway, so that
the gaps that it keeps are not counted. Budgets: time 1.10, memory 3 volumes and the logits.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

SHAPE, QUICK = (256, 256, 120), (128, 128, 100)
WINDOW, OVERLAP, CLASSES = 96, 0.25, 2
AFFINE = np.diag([-1.5, -1.5, 2.5, 1.0])
FLOAT_BYTES = 4


def study() -> Any:
    """Return the study whose network both sides use."""
    from medfl.study import Study

    return Study.model_validate(
        {
            "name": "bench",
            "rounds": 1,
            "task": {"kind": "segmentation", "dimension": 3, "modality": "CT", "classes": "background,organ"},
            "network": {"name": "unet", "channels": "8,16,32", "residual-units": 1},
            "loss": {"name": "dice-ce"},
            "preprocessing": {"intensity": "window", "window": "-160,240"},
            "training": {"patch": f"{WINDOW},{WINDOW},{WINDOW}"},
            "evaluation": {"test-overlap": OVERLAP},
        }
    )


def make(folder: Path, shape: tuple[int, ...], count: int) -> None:
    """Write volumes that are smooth with noise, as a CT is, and a model with the weights of the seed."""
    from medfl.clients.networks.arrays import get_arrays
    from medfl.clients.networks.network_builders import build_network
    from medfl.runs import checkpoint_files
    from medfl.runs.model_file import describe_model

    wave = [np.cos(np.linspace(-3, 3, side)) for side in shape]
    for k in range(count):
        noise = np.random.default_rng(k).integers(-20, 20, shape, np.int16)
        volume = (wave[0][:, None, None] * wave[1][:, None] * wave[2] * 900).astype(np.int16) + noise
        image = nib.Nifti1Image(volume, AFFINE)
        image.header.set_xyzt_units("mm")
        image.set_sform(AFFINE, 1)
        image.set_qform(AFFINE, 1)
        (folder / "images").mkdir(exist_ok=True)
        nib.save(image, folder / "images" / f"{k}.nii.gz")
    arrays = get_arrays(build_network(study()))
    about = {"arm": "federated", "site": "", "round": 1}
    checkpoint_files.save(folder, "best", arrays, about, describe_model(study(), list(arrays), about))


def run_monai(folder: Path) -> None:
    """Predict with MONAI alone."""
    import torch
    from monai.data import DataLoader, Dataset, decollate_batch
    from monai.inferers import sliding_window_inference
    from monai.transforms import (
        Activationsd,
        AsDiscreted,
        Compose,
        Invertd,
        LoadImaged,
        Orientationd,
        SaveImaged,
        ScaleIntensityRanged,
    )

    from medfl.models.trained_model import open_model

    net = open_model(folder / "best.safetensors").build()
    labels = (("L", "R"), ("P", "A"), ("I", "S"))
    before = Compose(
        [
            LoadImaged("image", ensure_channel_first=True),
            Orientationd("image", axcodes="RAS", labels=labels),
            ScaleIntensityRanged("image", a_min=-160, a_max=240, b_min=0, b_max=1, clip=True),
        ]
    )
    after = Compose(
        [
            Activationsd("pred", softmax=True),
            Invertd("pred", transform=before, orig_keys="image", nearest_interp=False, to_tensor=True),
            AsDiscreted("pred", argmax=True),
            SaveImaged("pred", output_dir=folder / "monai", separate_folder=False, output_dtype=np.uint8, print_log=False),
        ]
    )
    files = [{"image": path} for path in sorted((folder / "images").iterdir())]
    start = begin(folder)
    with torch.no_grad():
        for data in DataLoader(Dataset(files, before), batch_size=1):
            data["pred"] = sliding_window_inference(data["image"], (WINDOW,) * 3, 1, net, overlap=OVERLAP, mode="gaussian")
            for each in decollate_batch(data):
                after(each)
    finish(start)


def run_medfl(folder: Path, out: str) -> None:
    """Predict with medfl."""
    from medfl.api.predictions import PredictionOptions, plan_prediction
    from medfl.data.preprocess import steps  # noqa: F401  imported when the first case is prepared, otherwise

    prediction = plan_prediction(folder / "best.safetensors", folder / "images", folder / out, PredictionOptions(device="cpu"))
    start = begin(folder)
    prediction.run()
    finish(start)


def begin(folder: Path) -> tuple[float, float, int]:
    """Return wall and processor time and the highest resident size, once the network has seen a window: that is no volume."""
    import torch

    from medfl.models.trained_model import open_model

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    with torch.inference_mode():
        open_model(folder / "best.safetensors").build()(torch.zeros((1, 1, WINDOW, WINDOW, WINDOW)))
    return time.perf_counter(), time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def finish(start: tuple[float, float, int]) -> None:
    """Print what it took."""
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start[2]) * 1024
    wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    print(json.dumps({"seconds": wall, "cpu": cpu, "bytes": grown}))


def measure(who: str, folder: Path) -> dict[str, float]:
    """Run one side in a process of its own."""
    environment = {
        **os.environ,
        "MEDFL_STORE": str(folder / "store"),
        "MALLOC_MMAP_THRESHOLD_": str(2**20),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    command = [sys.executable, __file__, who, str(folder)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(*, quick: bool = False) -> None:
    """Print the ratios."""
    shape, count = (QUICK, 2) if quick else (SHAPE, 4)
    volume, logits = np.prod(shape) * FLOAT_BYTES, np.prod(shape) * FLOAT_BYTES * CLASSES
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, shape, count)
        monai, fresh, stored = (measure(who, folder) for who in ("monai", "first", "second"))
        same = _compare(folder)
    ratio, again = (each["seconds"] / monai["seconds"] for each in (fresh, stored))
    cpu = fresh["cpu"] / monai["cpu"]
    memory, others = ((each["bytes"] - logits) / volume for each in (fresh, monai))
    print(
        f"prediction of {count} CT of {'x'.join(map(str, shape))}: {fresh['seconds']:.1f} s, {ratio:.2f} of MONAI's loop "
        f"(budget 1.10), processor time {cpu:.2f}; with a store {again:.2f}; memory {memory:.1f} volumes and the logits "
        f"(budget 3), MONAI {others:.1f}; {same:.4%} of the voxels equal"
    )


def _compare(folder: Path) -> float:
    """Return the share of voxels on which both agree, over the masks in the order of their volumes."""

    def load(path: Path) -> Any:
        return np.asarray(nib.load(path).dataobj).squeeze()

    records = [json.loads(path.read_text()) for path in (folder / "first").glob("cases/*.json")]
    own = sorted((load(folder / "first" / record["files"][0]) for record in records), key=lambda mask: int(mask.sum()))
    theirs = sorted((load(path) for path in (folder / "monai").iterdir()), key=lambda mask: int(mask.sum()))
    return float(np.mean([(a == b).mean() for a, b in zip(own, theirs, strict=True)]))


if __name__ == "__main__":
    if len(sys.argv) > 2:
        run_monai(Path(sys.argv[2])) if sys.argv[1] == "monai" else run_medfl(Path(sys.argv[2]), sys.argv[1])
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--quick", action="store_true")
        main(quick=parser.parse_args().quick)
