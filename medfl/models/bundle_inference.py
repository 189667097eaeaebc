"""`inference.json` of a bundle: from a folder of images to masks or probabilities, by MONAI alone."""

from __future__ import annotations

import math
from typing import Any

from medfl.models.bundle_steps import (
    fitting_steps,
    naming,
    padding_step,
    postprocessing_steps,
    preprocessing_steps,
    reads_dicom,
)
from medfl.study import Study
from medfl.study.plain_names import escape_markdown

PREDICTIONS_FILE = "predictions.csv"  # of a classification
SERIES_SCRIPT = "scripts/dicom_series.py"
_WINDOW_VOXELS = 500_000  # that pass through the network together
_TIFF_ENDS = (".tif", ".tiff")
_PICTURE_ENDS = (".png", ".jpg", ".jpeg", ".bmp", *_TIFF_ENDS)
_ORIENTATION = 274  # tag of TIFF and EXIF
_REFUSE_LYING = (  # an expression cannot raise by itself
    "(_ for _ in ()).throw(ValueError('save as PNG first, for Pillow may misread a TIFF of Orientation 5 to 8: ' "
    "+ ', '.join(@lying)))"
)


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
            *(["$import runpy"] if reads_dicom(study) else []),
            *(["$import json", "$import pathlib"] if study.task.kind == "classification" else []),
        ],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/predictions'",
        **_inputs(study),
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
        **_table_head(study),
        "run": ["$@evaluator.run()", *(["$@add_head()"] if study.task.kind == "classification" else [])],
    }


def input_files(study: Study) -> str:
    """Return, in Markdown, which files the configuration reads in its folder of images."""
    if study.task.dimension == 2:
        return (
            "PNG, JPEG, BMP or TIFF files of one picture each, with square pixels (a TIFF that says it lies on its side, "
            "Orientation 5 to 8, is refused, for some versions of Pillow misread it: save it as PNG first)"
        )
    if study.task.channel_count == 1:
        series = (
            ", and folders with the DICOM files of one series each (multi-frame objects, a tilted gantry, and slices that are "
            "missing or uneven are refused: MONAI would misread them)"
        )
        return f"NIfTI files (.nii or .nii.gz), one for each image{series if reads_dicom(study) else ''}"
    names = tuple(map(escape_markdown, study.task.channel_names)) or tuple(
        f"channel {k}" for k in range(study.task.channel_count)
    )
    files = ", ".join(f"NAME_{k:04d}.nii.gz ({name})" for k, name in enumerate(names))
    return f"one NIfTI file for each channel of an image, all on one grid: {files}"


def _inputs(study: Study) -> dict[str, str]:
    """Return the items that list the images, the last of them ``files``."""
    if study.task.dimension == 2:
        return {
            "pictures": f"$sorted(path for path in {_matching('*')} if path.lower().endswith({_PICTURE_ENDS}))",
            "lying": (
                f"$[path for path in @pictures if path.lower().endswith({_TIFF_ENDS}) "
                f"and Image.open(path).getexif().get({_ORIENTATION}, 1) > 4]"
            ),
            "files": f"$[{{'image': path}} for path in (@pictures if not @lying else {_REFUSE_LYING})]",
        }
    if study.task.channel_count > 1:
        channels = f"[path.replace('_0000.nii', '_%04d.nii' % k) for k in range({study.task.channel_count})]"
        return {"files": f"$[{{'image': {channels}}} for path in sorted({_matching('*_0000.nii*')})]"}
    found = f"sorted({_matching('*.nii*')})"
    if not reads_dicom(study):
        return {"files": f"$[{{'image': path}} for path in {found}]"}
    find_series = f"runpy.run_path(@bundle_root + '/{SERIES_SCRIPT}')['find_series']"
    return {
        "series": f"${find_series}(@dataset_dir, '{study.task.modality}')",
        "files": f"$[{{'image': path}} for path in {found} + @series]",
    }


def _matching(pattern: str) -> str:
    """Return the expression of the files that a pattern fits, whatever signs of patterns the folder's own name has."""
    return f"glob.glob(glob.escape(@dataset_dir) + '/{pattern}')"


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


def _table_head(study: Study) -> dict[str, str]:
    """Return the items that put the names of the columns above the table of a classification, which MONAI leaves out.

    The names of the classes are read from ``metadata.json``: here, MONAI would run a name that is code.
    """
    if study.task.kind == "segmentation":
        return {}
    classes = "['network_data_format']['outputs']['pred']['channel_def'].values()"
    file = f"pathlib.Path(@output_dir, '{PREDICTIONS_FILE}')"
    quoted = "','.join('\"%s\"' % name.replace('\"', '\"\"') for name in @columns)"
    return {
        "columns": f"$['image', *json.loads(pathlib.Path(@bundle_root, 'configs/metadata.json').read_text()){classes}]",
        "add_head": f"$lambda: {file}.write_text({quoted} + '\\n' + {file}.read_text())",
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
