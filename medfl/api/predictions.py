"""Prediction with a trained model, as ``medfl predict`` makes it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from medfl.data.data_folder import DataFolder, open_data_folder
from medfl.data.mask_formats import MaskFormat
from medfl.errors import RunError
from medfl.models.folder_prediction import FolderPrediction
from medfl.models.predicted_folder import PredictedFolder, PredictionOptions
from medfl.models.run_models import Which
from medfl.models.trained_model import open_model
from medfl.runs.finding import find_named_run

Steps = Callable[[int, int], None]  # done, in all
PathLike = str | os.PathLike[str]


def plan_prediction(
    models: PathLike | Sequence[PathLike],
    data: PathLike,
    out: PathLike,
    *,
    flips: bool = False,
    masks: MaskFormat = "auto",
    original_names: bool = False,
    again: bool = False,
    device: Literal["", "auto", "cpu", "cuda", "mps"] = "",
    arm: str = "federated",
    site: str | None = None,
    which: Which = "best",
) -> FolderPrediction:
    """Open models and data for `predict`, without predicting yet: its `run` does, and its `found` says how far it is."""
    paths = [models] if isinstance(models, str | os.PathLike) else list(models)
    if not paths:
        raise RunError("MODEL-FILE", "no model was named.", "Name the folder of a run or of an export, or a .safetensors file.")
    opened = [open_model(_find_model(Path(path)), arm=arm, site=site, which=which) for path in paths]
    options = PredictionOptions(flips=flips, mask_format=masks, original_names=original_names, again=again)
    return FolderPrediction(opened, _on_device(open_data_folder(Path(data)), device), Path(out), options)


def predict(
    models: PathLike | Sequence[PathLike],
    data: PathLike,
    out: PathLike,
    *,
    flips: bool = False,
    masks: MaskFormat = "auto",
    original_names: bool = False,
    again: bool = False,
    device: Literal["", "auto", "cpu", "cuda", "mps"] = "",
    arm: str = "federated",
    site: str | None = None,
    which: Which = "best",
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
    flips : bool
        Whether to average over mirrored images, along the axes along which training mirrored them.
    masks : {"auto", "nifti", "seg", "labelmap", "png"}
        Format of masks; by default what the image is: DICOM-SEG for a series, NIfTI for NIfTI, PNG for pictures.
    original_names : bool
        Whether files and records bear the names of the data, which may identify patients; pseudonyms otherwise.
    again : bool
        Whether to predict anew what is there already.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``; empty: as the site.toml says, or the fastest one.
    arm, site, which
        Of a run, which of its models is meant: see `medfl.api.OpenRun.model`.
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
    prediction = plan_prediction(
        models,
        data,
        out,
        flips=flips,
        masks=masks,
        original_names=original_names,
        again=again,
        device=device,
        arm=arm,
        site=site,
        which=which,
    )
    return prediction.run(progress=progress)


def _find_model(path: Path) -> Path:
    """Return where a model is: as named, or the run whose name begins so."""
    if path.suffix:
        return path
    try:
        return find_named_run(path)
    except RunError:
        return path


def _on_device(data: DataFolder, device: Literal["", "auto", "cpu", "cuda", "mps"]) -> DataFolder:
    if not device:
        return data
    resources = data.site.resources.model_copy(update={"device": device})
    return DataFolder(data.site.model_copy(update={"resources": resources}), data.is_described, data.only)
