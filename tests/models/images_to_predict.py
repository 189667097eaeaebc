"""Images whose predictions are known by heart, and their prediction with a threshold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medfl.data.data_folder import open_data_folder
from medfl.models.folder_prediction import FolderPrediction
from medfl.models.predicted_folder import PredictedFolder, PredictionOptions
from medfl.models.trained_model import TrainedModel
from medfl.testing.sites import make_study
from tests.models.threshold import threshold_model

STUDY = make_study(dimension=3, training={"patch": "8,8,8"}, preprocessing={"spacing": "1,1,1"})
AXES = {"ras": np.diag([1.0, 1.0, 1.0, 1.0]), "lps": np.diag([-1.0, -1.0, 1.0, 1.0])}
TURNED = np.array([[0, 0.8, -0.6, 5], [0, 0.6, 0.8, 9], [2.0, 0, 0, 3], [0, 0, 0, 1.0]])  # oblique, and of 2 mm slices
PICTURES = make_study(dimension=2, task={"modality": "XR"}, preprocessing={"size": "32,32"})


def cube(shape: tuple[int, ...] = (12, 10, 9)) -> NDArray[np.uint8]:
    """Return a block away from the edges, of full voxels in all directions."""
    values = np.zeros(shape, dtype=np.uint8)
    values[tuple(slice(2, side - 3) for side in shape)] = 1
    return values


def save(path: Path, values: NDArray[Any], affine: NDArray[Any] = AXES["ras"]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(values, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    nibabel.save(image, path)
    return path


def grey(mask: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Return an image that is bright in the mask, with a little noise: an image of two values alone is refused."""
    noise = np.random.default_rng(int(mask.sum())).integers(0, 20, mask.shape)
    return (mask.astype(np.int16) * 400 + 100 + noise).astype(np.int16)


def predict(data: Path, out: Path, *models: TrainedModel, **options: Any) -> PredictedFolder:
    chosen = models or (threshold_model(STUDY),)
    return FolderPrediction(chosen, open_data_folder(data), out, PredictionOptions(**options)).run()


def labelled_folder(folder: Path, count: int = 3) -> Path:
    for k in range(count):
        save(folder / f"p{k}" / "image.nii.gz", grey(cube((12 + k, 10, 9))))
        save(folder / f"p{k}" / "label.nii.gz", cube((12 + k, 10, 9)))
    return folder


def picture_of(mask: NDArray[np.uint8], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 10, mask.shape)
    Image.fromarray((mask * 200 + 20 + noise).astype(np.uint8)).save(path)
