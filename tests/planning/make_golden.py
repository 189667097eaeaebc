"""Write golden.json: what nnU-Net's own planner says of a few data sets. No test, and the one that needs nnunetv2 2.8.1.

In an environment of its own::

    pip install nnunetv2==2.8.1
    python tests/planning/make_golden.py

The data sets are made up, with the sizes and spacings of well-known ones; nnU-Net is given its own kind of fingerprint of them
and runs its whole ``plan_experiment``.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

# name: (spacings and shapes of the cases in nnU-Net's axis order z,y,x; how often; foreground classes; GB of GPU memory)
DATA_SETS: dict[str, dict[str, Any]] = {
    "liver": {"cases": [((1.0, 0.767, 0.767), (482, 512, 512), 131)], "classes": 3, "gpu-gb": 8.0},
    "prostate": {"cases": [((3.6, 0.62, 0.62), (20, 320, 319), 32)], "classes": 3, "gpu-gb": 8.0},
    "hippocampus": {"cases": [((1.0, 1.0, 1.0), (36, 50, 35), 260)], "classes": 3, "gpu-gb": 8.0},
    "brain-tumour": {"cases": [((1.0, 1.0, 1.0), (138, 170, 138), 484)], "classes": 4, "gpu-gb": 8.0},
    "heart": {"cases": [((1.37, 1.25, 1.25), (115, 320, 232), 20)], "classes": 2, "gpu-gb": 24.0},
    "lung": {"cases": [((1.24, 0.785, 0.785), (252, 512, 512), 63)], "classes": 2, "gpu-gb": 11.0},
    # slices of several thicknesses: the rule for the coarse axis takes its 10th percentile
    "cardiac": {
        "cases": [
            ((10.0, 1.56, 1.56), (9, 232, 256), 60),
            ((5.0, 1.34, 1.34), (16, 256, 216), 25),
            ((8.0, 1.7, 1.7), (10, 224, 208), 15),
        ],
        "classes": 4, "gpu-gb": 8.0,
    },
    # sagittal: the coarse axis is not the first
    "sagittal": {"cases": [((0.55, 0.55, 4.4), (384, 384, 17), 40)], "classes": 2, "gpu-gb": 8.0},
    "tiny": {"cases": [((2.0, 2.0, 2.0), (20, 24, 21), 6)], "classes": 2, "gpu-gb": 8.0},
}  # fmt: skip


def main() -> None:
    """Plan every data set in a temporary folder and write the numbers that medfl must give too."""
    with tempfile.TemporaryDirectory() as place:
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            os.environ[name] = str(Path(place) / name)
        found = {name: _planned(k, name, facts, Path(place)) for k, (name, facts) in enumerate(DATA_SETS.items(), start=1)}
    packages = ("nnunetv2", "dynamic-network-architectures", "numpy", "torch")
    golden = {"made-with": {package: version(package) for package in packages}, "data-sets": found}
    (HERE / "golden.json").write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")


def _planned(number: int, name: str, facts: dict[str, Any], place: Path) -> dict[str, Any]:
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

    identifier = f"Dataset{number:03d}_{name.replace('-', '')}"
    raw, ready = place / "nnUNet_raw" / identifier, place / "nnUNet_preprocessed" / identifier
    for folder in (raw / "imagesTr", raw / "labelsTr", ready):
        folder.mkdir(parents=True)
    cases = [(spacing, shape) for spacing, shape, times in facts["cases"] for _ in range(times)]
    for k in range(len(cases)):  # nnU-Net lists them, and opens none
        (raw / "imagesTr" / f"case{k:03d}_0000.nii.gz").touch()
        (raw / "labelsTr" / f"case{k:03d}.nii.gz").touch()
    labels = {"background": 0, **{f"class{c}": c for c in range(1, facts["classes"])}}
    description = {
        "channel_names": {"0": "MRI"}, "labels": labels, "numTraining": len(cases), "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "SimpleITKIO",
    }  # fmt: skip
    (raw / "dataset.json").write_text(json.dumps(description))
    fingerprint = {
        "spacings": [spacing for spacing, _ in cases],
        "shapes_after_crop": [shape for _, shape in cases],
        "median_relative_size_after_cropping": 1.0,
        "foreground_intensity_properties_per_channel": {},
    }
    (ready / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    with contextlib.redirect_stdout(io.StringIO()):
        plans = ExperimentPlanner(identifier, gpu_memory_target_in_gb=facts["gpu-gb"]).plan_experiment()
    configurations = {key: plans["configurations"][full] for key, full in (("2d", "2d"), ("3d", "3d_fullres"))}
    return {
        **facts,
        "axes": plans["transpose_forward"],
        **{key: _numbers(plan) for key, plan in configurations.items()},
    }


def _numbers(plan: dict[str, Any]) -> dict[str, Any]:
    network = plan["architecture"]["arch_kwargs"]
    return {
        "spacing": [float(s) for s in plan["spacing"]],
        "median-shape": [float(s) for s in plan["median_image_size_in_voxels"]],
        "patch": [int(s) for s in plan["patch_size"]],
        "batch": int(plan["batch_size"]),
        "strides": network["strides"],
        "kernels": network["kernel_sizes"],
        "features": network["features_per_stage"],
    }


if __name__ == "__main__":
    main()
