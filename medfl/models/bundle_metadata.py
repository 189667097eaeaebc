"""`metadata.json` of a bundle: what goes into the network and what comes out, by MONAI's schema."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from medfl import DISTRIBUTION, __version__
from medfl.models.bundle_steps import reads_dicom
from medfl.study import Study
from medfl.study.plain_names import plain_values

_SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
BUNDLE_VERSION = "1.0.0"
RUNNER_VERSIONS = {"pytorch-ignite": "0.5.5", "fire": "0.7.1"}  # what 'python -m monai.bundle run' needs beside MONAI
_FORMATS = {"MR": "magnitude", "CT": "hounsfield", "XR": "magnitude", "US": "magnitude"}


def bundle_metadata(study: Study, description: str, licence: str, scores: dict[str, float]) -> dict[str, Any]:
    """Return the content of ``metadata.json``: text and numbers alone, whatever the names in the study are.

    Parameters
    ----------
    study : Study
        Study that trained the model.
    description : str
        What the model is, and where it comes from, in a sentence or two.
    licence : str
        Under which licence the model is, for the field ``copyright``.
    scores : dict of str to float
        Scores on test patients by name; empty when none is told.
    """
    task = study.task
    classes = ", ".join(f"{k}: {name}" for k, name in enumerate(task.classes))
    content = {
        "schema": _SCHEMA,
        "version": BUNDLE_VERSION,
        "changelog": {BUNDLE_VERSION: f"Exported by {DISTRIBUTION} {__version__}."},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {**{name: version(name) for name in reader_packages(study)}, **RUNNER_VERSIONS},
        "name": study.name,
        "task": f"{task.dimension}-D {task.kind} of {task.modality} images: {', '.join(task.foreground)}",
        "description": description,
        "authors": "The hospitals that trained the model together; MODEL_CARD.md names them.",
        "copyright": licence,
        "data_type": "nibabel" if task.dimension == 3 else "pillow",
        "image_classes": f"{task.modality}, {task.channel_count} channel(s), prepared as README.md says",
        "pred_classes": classes,
        "eval_metrics": scores,
        "intended_use": "Research. It is no medical device, and no diagnosis may rest on it.",
        "references": [],
        "network_data_format": {"inputs": {"image": _input_format(study)}, "outputs": {"pred": _output_format(study)}},
    }
    plain: dict[str, Any] = plain_values(content)  # MONAI reads it as a configuration, and would run a text that is code
    return plain


def reader_packages(study: Study) -> tuple[str, ...]:
    """Return the packages with which MONAI reads the study's images; its extras have the same names."""
    if study.task.dimension == 2:
        return ("pillow",)
    return ("nibabel", "pydicom") if reads_dicom(study) else ("nibabel",)


def _input_format(study: Study) -> dict[str, Any]:
    task = study.task
    names = task.channel_names or tuple(f"image {k}" if task.channel_count > 1 else "image" for k in range(task.channel_count))
    return {
        "type": "image",
        "format": _FORMATS[task.modality],
        "modality": task.modality,
        "num_channels": task.channel_count,
        "spatial_shape": _spatial_shape(study),
        "dtype": "float32",
        "value_range": _value_range(study),
        "is_patch_data": bool(study.training.patch),
        "channel_def": {str(k): name for k, name in enumerate(names)},
    }


def _output_format(study: Study) -> dict[str, Any]:
    task = study.task
    masks = task.kind == "segmentation"
    return {
        "type": "image" if masks else "probabilities",
        "format": "segmentation" if masks else "classes",
        "num_channels": len(task.classes),
        "spatial_shape": _spatial_shape(study) if masks else [1, len(task.classes)],
        "dtype": "float32",
        "value_range": [],  # logits
        "is_patch_data": masks and bool(study.training.patch),
        "channel_def": {str(k): name for k, name in enumerate(task.classes)},
    }


def _spatial_shape(study: Study) -> list[int | str]:
    if size := study.training.patch or study.preprocessing.size:
        return list(size)
    return [f"{divisor}*n" for divisor in study.network.divisors(study.task.dimension)]


def _value_range(study: Study) -> list[float]:
    chosen = study.preprocessing
    is_unit = chosen.intensity in ("window", "unit") or (chosen.intensity == "percentile" and chosen.clip)
    return [0.0, 1.0] if is_unit else []
