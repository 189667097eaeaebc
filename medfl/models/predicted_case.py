"""One predicted case: its mask on the grid of its image, and what a table says of it, with scores where it has a label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medfl.clients.tasks.case_results import classification_result, score_segmentation
from medfl.data.preprocess.spatial import to_ras
from medfl.data.preprocess.undo import resample_to_source
from medfl.data.source_grid import SourceGrid
from medfl.data.store.prepared_data import PreparedCase
from medfl.data.volume import Volume, affine_to_spacing
from medfl.errors import TrainingError
from medfl.runs.case_table import CaseResult
from medfl.study import Study

Mask = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class PredictedCase:
    """What was predicted of one case.

    Parameters
    ----------
    result : CaseResult
        Volumes or probabilities, and scores where the case has a label.
    mask : ndarray of uint8, optional
        Of a segmentation: the class of each voxel, on the grid of the image as read.
    """

    result: CaseResult
    mask: Mask | None = None


def finish_case(study: Study, case: PreparedCase, probabilities: Tensor) -> PredictedCase:
    """Bring the prediction of a case back to its image, and score it as the test of a run is scored.

    Parameters
    ----------
    study : Study
        Gives the classes and how is scored.
    case : PreparedCase
        With the grid of its source.
    probabilities : Tensor
        Result of `medfl.models.case_predictor.CasePredictor.predict`.

    Raises
    ------
    TrainingError
        ``EVAL-NOT-FINITE`` when the model gave what is no number.
    """
    if not bool(torch.isfinite(probabilities.sum())):
        what = "the model gives scores of this image that are not numbers."
        raise TrainingError(
            "EVAL-NOT-FINITE", what, "Look at the image; if it is so of many, take a model of an earlier round."
        )
    if study.task.kind == "classification":
        label = case.label if isinstance(case.label, int) else None
        shares = probabilities.cpu().tolist()
        return PredictedCase(classification_result(case.name, case.patient, study.task.classes, shares, label))
    source = case.source
    assert source is not None  # every case of the store knows it
    with torch.inference_mode():
        mask = resample_to_source(probabilities, case.affine, source)
    if study.task.dimension == 2:  # a test scores pictures as they are prepared
        prepared = probabilities.argmax(0).to(torch.uint8).cpu().numpy()
        return PredictedCase(_score(study, case, prepared, case.label, case.spacing), mask)
    reference = case.reference
    truth = case.label if reference is None else reference.label
    spacing = affine_to_spacing(to_ras(_as_volume(mask, source), None)[0].affine)
    return PredictedCase(_score(study, case, _to_ras(mask, source), truth, spacing), mask)


def _score(
    study: Study, case: PreparedCase, prediction: Mask, truth: Mask | int | None, spacing: tuple[float, ...]
) -> CaseResult:
    known = truth if isinstance(truth, np.ndarray) else None
    return score_segmentation(study, case, prediction, known, spacing, surface=study.evaluation.surface != "never")[1]


def _as_volume(mask: Mask, source: SourceGrid) -> Volume:
    return Volume(np.broadcast_to(np.float32(0), (1, *mask.shape)), source.affine)


def _to_ras(mask: Mask, source: SourceGrid) -> Mask:
    """Return the mask in the orientation in which truths are kept."""
    turned = to_ras(_as_volume(mask, source), mask)[1]
    assert turned is not None
    return turned
