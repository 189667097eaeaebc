"""Prediction with a trained model, as ``medfl predict`` makes it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from medfl.data.data_folder import DataFolder, open_data_folder
from medfl.errors import RunError
from medfl.models.folder_prediction import FolderPrediction
from medfl.models.predicted_folder import PredictedFolder, PredictionOptions
from medfl.models.prediction_folder import require_place
from medfl.models.trained_model import open_model
from medfl.runs.finding import find_named_run

__all__ = ["PredictionOptions", "plan_prediction", "predict"]

Steps = Callable[[int, int], None]  # done, in all
PathLike = str | os.PathLike[str]

_DEFAULTS = PredictionOptions()


def plan_prediction(
    models: PathLike | Sequence[PathLike], data: PathLike, out: PathLike, options: PredictionOptions = _DEFAULTS
) -> FolderPrediction:
    """Open models and data for `predict`, without predicting yet: its `run` does, and its `found` says how far it is."""
    paths = [models] if isinstance(models, str | os.PathLike) else list(models)
    if not paths:
        raise RunError("MODEL-FILE", "no model was named.", "Name the folder of a run or of an export, or a .safetensors file.")
    folder = _on_device(open_data_folder(Path(data)), options)
    require_place(Path(out), folder)  # a model may take long to open
    opened = [open_model(_find_model(Path(path)), arm=options.arm, site=options.site, which=options.which) for path in paths]
    return FolderPrediction(opened, folder, Path(out), options)


def predict(
    models: PathLike | Sequence[PathLike],
    data: PathLike,
    out: PathLike,
    options: PredictionOptions = _DEFAULTS,
    *,
    progress: Steps | None = None,
) -> PredictedFolder:
    """Predict the images of a data folder with a trained model, and score those that have a label.

    What is done is whole, and a second call goes on with the rest.

    Parameters
    ----------
    models : path, or sequence of paths
        Folder or name of a run, folder of an export, or a ``.safetensors`` file; of several the probabilities are averaged.
    data : path
        A ``site.toml`` or its folder, a folder of images, a table of images, or one NIfTI or picture.
    out : path
        Folder for the predictions: masks, ``cases.csv``, ``summary.json``, and a JSON file for each case.
    options : PredictionOptions
        How to predict, and of a run, with which of its models.
    progress : callable, optional
        Called with (cases done, cases in all).

    Returns
    -------
    PredictedFolder
        What is done, what was left out and why, and the scores.

    Raises
    ------
    MedflError
        ``MODEL-FILE``, ``RUN-MODEL``, ``PRED-MODELS``, ``PRED-FLIPS``, ``PRED-OUT``, ``PRED-WRITE``, ``DISK-FULL``; the codes
        of reading a data folder as a whole.
    """
    return plan_prediction(models, data, out, options).run(progress=progress)


def _find_model(path: Path) -> Path:
    """Return where a model is: as named, or the run whose name begins so."""
    if path.suffix:
        return path
    try:
        return find_named_run(path)
    except RunError:
        return path


def _on_device(data: DataFolder, options: PredictionOptions) -> DataFolder:
    if not options.device:
        return data
    resources = data.site.resources.model_copy(update={"device": options.device})
    return DataFolder(data.site.model_copy(update={"resources": resources}), data.is_described, data.only)
