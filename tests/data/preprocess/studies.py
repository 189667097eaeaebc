"""Studies and volumes for the tests of preprocessing."""

from __future__ import annotations

from typing import Any

import numpy as np

from medfl.data.volume import Volume
from medfl.study import Study


def make_study(dimension: int = 3, **preprocessing: Any) -> Study:
    return Study.model_validate(
        {
            "name": "s",
            "rounds": 1,
            "task": {"kind": "segmentation", "dimension": dimension, "modality": "MR", "classes": "background,a"},
            "network": {"name": "unet"},
            "loss": {"name": "dice-ce"},
            "preprocessing": {key.replace("_", "-"): value for key, value in preprocessing.items()},
        }
    )


def make_volume(*values: Any, affine: Any = None) -> Volume:
    return Volume(np.array(values, dtype=np.float32), np.eye(4) if affine is None else np.asarray(affine, dtype=float))


def study_of_modality(modality: str, dimension: int = 3, **preprocessing: Any) -> Study:
    values = make_study(dimension).model_dump(by_alias=True)
    values["task"]["modality"] = modality
    values["preprocessing"] = {key.replace("_", "-"): value for key, value in preprocessing.items()}
    return Study.model_validate(values)
