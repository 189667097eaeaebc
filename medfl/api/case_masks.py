"""Whole masks of the cases of a simulated run: its test keeps pictures of slices alone, so they are predicted again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from medfl.data.data_folder import DataFolder
from medfl.data.index.prediction_folders import holds_predictions
from medfl.data.simulated_sites import read_simulated_sites
from medfl.errors import RunError
from medfl.models.folder_prediction import FolderPrediction
from medfl.models.predicted_folder import PredictionOptions
from medfl.models.trained_model import open_model
from medfl.report.case_sources import CaseCollection
from medfl.runs.case_table import MASKS_FOLDER
from medfl.runs.run_folder import STUDY_JSON, Run

MAX_MASKS = 48  # of the worst cases, as many as the page has pictures


def write_case_masks(path: Path, collection: CaseCollection, progress: Callable[[int, int], None] | None = None) -> list[Path]:
    """Predict the worst cases of a simulated run again with its best model, and keep their masks beside its tables.

    Parameters
    ----------
    path : Path
        Folder of the run; beside predictions the masks are there already, and nothing is done.
    collection : CaseCollection
        Its cases.
    progress : callable, optional
        Called with (cases done, cases in all), of each hospital.

    Returns
    -------
    list of Path
        The folders that hold masks now, each a folder of predictions.

    Raises
    ------
    RunError
        ``CASES-MISSING`` where there are no masks to write: of a classification, and at a hospital.
    MedflError
        As `medfl.predict`; `medfl.data.simulated_sites.read_simulated_sites` when the data is not here.
    """
    if not any(result.structures for source in collection.sources for result in source.table.results):
        raise RunError("CASES-MISSING", "the model tells classes, so there are no masks.", "Leave '--masks' out.")
    if not (path / STUDY_JSON).is_file():
        return _list_present(collection)
    run = Run.open(path)
    model, sites = open_model(path), {site.name: site for site in read_simulated_sites(run.app.simulation)}
    wanted: dict[str, list[str]] = {}
    for source, result in collection.worst_first()[:MAX_MASKS]:
        wanted.setdefault(source.site, []).append(result.case)
    folders = []
    for name, cases in wanted.items():
        if name in sites:
            folders.append(run.site_folder(name) / MASKS_FOLDER)
            data = DataFolder(sites[name], is_described=True)
            FolderPrediction([model], data, folders[-1], PredictionOptions(), only=cases).run(progress=progress)
    return folders


def _list_present(collection: CaseCollection) -> list[Path]:
    folders = list(dict.fromkeys(source.masks for source in collection.sources if holds_predictions(source.masks)))
    if not folders:
        what = "no masks are kept of the tests at a hospital."
        raise RunError("CASES-MISSING", what, "Predict its cases with the kept model: medfl site models names the file.")
    return folders
