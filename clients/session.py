"""Training and scoring of a model at a site, on its own patients.

Both depend on their arguments alone: every seed is given, and no earlier call in the same process leaves a trace.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.networks.arrays import check_finite, load_arrays
from medfl.clients.tasks import classification_task, example_slices, segmentation_task
from medfl.clients.tasks.ensemble_inference import Models, build_mean_predictor
from medfl.clients.tasks.inference import Predictor, build_predictor
from medfl.clients.tasks.scores import EvaluationResult
from medfl.clients.training.batches import count_steps
from medfl.clients.training.devices import Device, choose_device, deterministic
from medfl.clients.training.losses import build_evaluation_loss
from medfl.clients.training.task import TrainResult, TrainTask
from medfl.data.store.prepared_data import PreparedData
from medfl.errors import ExchangeError, RunError, TrainingError
from medfl.messages import records
from medfl.messages.records import Metrics
from medfl.runs import own_tests
from medfl.runs.case_table import CASES_FILE, PICTURES_FOLDER, CaseTable, size_unit, write_case_table
from medfl.runs.low_rank_arrays import fold_low_rank
from medfl.site import Site
from medfl.study import Study
from medfl.system.files import make_private_folder, translate_disk_errors, write_file

_log = logging.getLogger("medfl.site")


@dataclass(frozen=True)
class OwnResults:
    """What stays at a site of its results besides the reply.

    Parameters
    ----------
    folder : Path
        The site's own folder. It gets ``test.json``, with the scores of each patient by pseudonym, ``cases.csv``, with those of
        each case (`medfl.runs.case_table`), and, where the policy of the site allows images, ``case-pictures`` of the worst
        cases, and ``previews/preview-1.npz``, ... from the best to the worst image.
    previews : int
        Example images to keep; 0 keeps no images at all.
    about : mapping, optional
        At a hospital: what the test is of, written beside the table. A failure to write is then told in the site's log, and
        does not end the test.
    """

    folder: Path
    previews: int
    about: Mapping[str, object] | None = None


def train(task: TrainTask, algorithm: ClientAlgorithm | None = None) -> TrainResult:
    """Train a model on the training cases of a site for one round.

    Parameters
    ----------
    task : TrainTask
        The work. The weights of its network are overwritten.
    algorithm : ClientAlgorithm, optional
        Plain training unless given.

    Returns
    -------
    TrainResult
        Result with all ``train.*`` metrics.

    Raises
    ------
    TrainingError
        ``TRAIN-NO-CASES``, ``TRAIN-SHAPES``, ``LOSS-NONFINITE``, ``WEIGHTS-NONFINITE``, ``NET-TOO-DEEP``, ``DEVICE-MISSING``.
    ExchangeError
        When the received arrays do not fit the network.
    """
    begun = time.perf_counter()
    cases = task.prepared.get_split("train")
    with deterministic(task.study, task.device, task.seed):
        task.net.to(task.device.torch_device)
        load_arrays(task.net, task.received)
        result = (algorithm or ClientAlgorithm()).train(task)
    try:
        for tensors in (result.arrays, *result.records.values()):
            check_finite(tensors)
    except ExchangeError as error:
        raise TrainingError("WEIGHTS-NONFINITE", error.what, error.fix) from None
    metrics: Metrics = {
        records.TRAIN_PATIENTS: task.prepared.count_patients("train"),
        records.TRAIN_SAMPLES: len(cases),
        records.TRAIN_STEPS: count_steps(task.study, *task.case_counts),
        **result.metrics,
        records.TRAIN_SECONDS: time.perf_counter() - begun,
    }
    return TrainResult(result.arrays, metrics, result.records)


def evaluate(
    study: Study,
    site: Site,
    prepared: PreparedData,
    net: nn.Module,
    arrays: Mapping[str, NDArray[np.generic]],
    split: str,
    own: OwnResults | None = None,
) -> Metrics:
    """Score a model on the patients of one split.

    Parameters
    ----------
    study, site, prepared, net
        As in `TrainTask`.
    arrays : mapping of str to ndarray
        The model.
    split : {"validation", "test"}
        Split whose patients are scored.
    own : OwnResults, optional
        What is left besides the metrics; nothing unless given.

    Returns
    -------
    dict
        The ``eval.*`` metrics; zeros when the split has no patients.
    """

    def open_model(device: Device) -> Predictor:
        load_arrays(net, fold_low_rank(study, arrays))  # as a model file has it
        return build_predictor(study, net, device)

    return _evaluate(study, site, prepared, net, open_model, split, own)


def evaluate_mean(
    study: Study,
    site: Site,
    prepared: PreparedData,
    net: nn.Module,
    models: Models,
    split: str,
    own: OwnResults | None = None,
) -> Metrics:
    """Score the mean of several models on the patients of one split, as `evaluate` scores one.

    Parameters
    ----------
    models : callable
        As for `medfl.clients.tasks.ensemble_inference.build_mean_predictor`.

    The others are those of `evaluate`.
    """

    def open_models(device: Device) -> Predictor:
        return build_mean_predictor(study, net, device, models)

    return _evaluate(study, site, prepared, net, open_models, split, own)


def _evaluate(
    study: Study,
    site: Site,
    prepared: PreparedData,
    net: nn.Module,
    open_model: Callable[[Device], Predictor],
    split: str,
    own: OwnResults | None,
) -> Metrics:
    cases = prepared.get_split(split)
    device = choose_device(study, site)
    with deterministic(study, device, study.seed):
        net.to(device.torch_device).eval()
        predictor = open_model(device)
        loss = build_evaluation_loss(study, device.torch_device)
        keep = own is not None and site.policy.previews and own.previews > 0
        if study.task.kind == "segmentation":
            scored = segmentation_task.score_cases(study, cases, predictor, loss, split, keep_previews=keep)
        else:
            scored = classification_task.score_cases(study, cases, predictor, loss, keep_previews=keep)
    if own is not None:
        try:
            _write_details(scored, study, split, own)
        except RunError as error:
            if own.about is None:
                raise
            _log.warning("[CASES-NOT-KEPT] %s The test goes on. (%s)", error.what, study.name)
    return scored.metrics


def _write_details(scored: EvaluationResult, study: Study, split: str, own: OwnResults) -> None:
    details = {"split": split, "kind": study.task.kind, "patients": scored.patients}
    with translate_disk_errors("the scores by patient"):
        make_private_folder(own.folder)
        if own.about is not None:
            own_tests.write_about(own.folder, own.about)
        write_file(own.folder / f"{split}.json", json.dumps(details, indent=1).encode(), private=True)
        if scored.previews:
            chosen = example_slices.choose_previews(scored.previews, own.previews)
            example_slices.write_previews(chosen, own.folder / "previews")
        if scored.worst:
            example_slices.write_pictures(scored.worst, own.folder / PICTURES_FOLDER)
        write_case_table(own.folder / CASES_FILE, CaseTable(scored.cases, size_unit(study.task.dimension)))
