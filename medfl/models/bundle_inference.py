"""`inference.json` of a bundle: from a folder of images to masks or probabilities, by MONAI alone."""

from __future__ import annotations

import math
from typing import Any

from medfl.models.bundle_steps import fitting_steps, naming, padding_step, postprocessing_steps, preprocessing_steps
from medfl.study import Study
from medfl.study.plain_names import escape_markdown

PREDICTIONS_FILE = "predictions.csv"  # of a classification
_WINDOW_VOXELS = 500_000  # that pass through the network together
_PICTURE_ENDS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def inference_config(study: Study, network: dict[str, Any]) -> dict[str, Any]:
    """Return the content of ``inference.json``.

    Parameters
    ----------
    study : Study
        Gives preprocessing, windows and post-processing; `medfl.models.bundle_steps.missing_steps` must be empty.
    network : dict
        Items that build the network, the last of them ``network_def``: see `medfl.models.bundle_network.BundleNetwork.config`.
    """
    return {
        "imports": [
            "$import monai",
            "$import glob",
            "$import numpy as np",
            *(
                ["$import os", "$import PIL.Image as Image", "$import PIL.ImageOps as ImageOps"]
                if study.task.dimension == 2
                else []
            ),
        ],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/predictions'",
        "files": _files(study),
        **naming(study),
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        **network,
        "network": "$@network_def.to(@device)",
        **fitting_steps(study),
        "padding": padding_step(study),
        "preprocessing": {"_target_": "Compose", "transforms": preprocessing_steps(study)},
        "dataset": {"_target_": "Dataset", "data": "@files", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": _inferer(study),
        "postprocessing": {"_target_": "Compose", "transforms": postprocessing_steps(study)},
        "handlers": _handlers(study),
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "run": ["$@evaluator.run()"],
    }


def input_files(study: Study) -> str:
    """Return, in Markdown, which files the configuration reads in its folder of images."""
    if study.task.dimension == 2:
        return (
            "PNG, JPEG, BMP or TIFF files of one picture each, with square pixels (a TIFF that says it lies "
            "on its side, Orientation 5 to 8, is misread by some versions of Pillow: save it as PNG first)"
        )
    if study.task.channel_count == 1:
        return "NIfTI files (.nii or .nii.gz), one for each image"
    names = tuple(map(escape_markdown, study.task.channel_names)) or tuple(
        f"channel {k}" for k in range(study.task.channel_count)
    )
    files = ", ".join(f"NAME_{k:04d}.nii.gz ({name})" for k, name in enumerate(names))
    return f"one NIfTI file for each channel of an image, all on one grid: {files}"


def _files(study: Study) -> str:
    if study.task.dimension == 2:
        return (
            f"$[{{'image': path}} for path in sorted(glob.glob(@dataset_dir + '/*')) if path.lower().endswith({_PICTURE_ENDS})]"
        )
    if study.task.channel_count == 1:
        return "$[{'image': path} for path in sorted(glob.glob(@dataset_dir + '/*.nii*'))]"
    channels = f"[path.replace('_0000.nii', '_%04d.nii' % k) for k in range({study.task.channel_count})]"
    return f"$[{{'image': {channels}}} for path in sorted(glob.glob(@dataset_dir + '/*_0000.nii*'))]"


def _inferer(study: Study) -> dict[str, Any]:
    patch = study.training.patch
    if study.task.kind == "classification" or not patch:
        return {"_target_": "SimpleInferer"}
    return {
        "_target_": "SlidingWindowInferer",
        "roi_size": list(patch),
        "sw_batch_size": max(1, min(32, _WINDOW_VOXELS // math.prod(patch))),
        "overlap": study.evaluation.test_overlap,
        "mode": "gaussian",
    }


def _handlers(study: Study) -> list[dict[str, Any]]:
    load = {
        "_target_": "CheckpointLoader",
        "load_path": "$@bundle_root + '/models/model.pt'",
        "load_dict": {"model": "@network"},
        "map_location": "@device",
    }
    if study.task.kind == "segmentation":
        return [load]
    save = {
        "_target_": "ClassificationSaver",
        "output_dir": "@output_dir",
        "filename": PREDICTIONS_FILE,
        "batch_transform": "$lambda batch: [case['image'].meta for case in batch]",
        "output_transform": "$lambda output: [case['pred'] for case in output]",
    }
    return [load, save]
