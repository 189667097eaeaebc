"""Sending of a finished prediction to a hospital's PACS: all of it, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from medfl.data.pacs.outgoing import Stored
from medfl.data.pacs.send import send_objects
from medfl.errors import DataError
from medfl.models.predicted_folder import PredictedFolder
from medfl.site.pacs import Pacs
from medfl.system.text import plural

_NOT_WRITTEN = "PRED-"  # how the codes begin of predictions that could not be written


def find_files_to_send(found: PredictedFolder) -> list[Path]:
    """Return the DICOM files of a prediction of which nothing is missing; what is of no DICOM series stays here.

    Parameters
    ----------
    found : PredictedFolder
        The prediction, whether one call made it or several.

    Raises
    ------
    DataError
        ``PACS-OBJECT`` when a prediction is missing, was not written as asked for, or none is DICOM.
    """
    unwritten = len({one.case for one in found.findings if one.code.startswith(_NOT_WRITTEN)})
    if missing := unwritten + len(found.remaining):
        what = f"{plural(missing, 'prediction')} could not be written as asked for, so nothing was sent."
        raise DataError("PACS-OBJECT", what, "Mend that, and give the same command again.")
    names = [name for case in found.cases if case in found.done for name in found.done[case].files]
    paths = [found.out / name for name in names if name.endswith(".dcm")]
    if not paths:
        what = "none of the predictions is a DICOM file, so nothing was sent."
        raise DataError("PACS-OBJECT", what, "A PACS takes predictions of DICOM series, as DICOM-SEG: '--masks seg'.")
    return paths


def send_prediction(
    found: PredictedFolder, pacs: Pacs, folder: Path, progress: Callable[[int, int], object] = lambda done, total: None
) -> tuple[Stored, ...]:
    """Send the DICOM files of a prediction to a PACS, if nothing of it is missing.

    Parameters
    ----------
    found : PredictedFolder
        The prediction, as `medfl.predict` returns it.
    pacs, folder, progress
        As `medfl.data.pacs.send.send_objects`.

    Returns
    -------
    tuple of Stored
        What became of each file.

    Raises
    ------
    DataError
        As `find_files_to_send` and `medfl.data.pacs.send.send_objects`.
    """
    return send_objects(find_files_to_send(found), pacs, folder, progress)
