"""The two things a hospital does with a model: train it on its own images, and score it on patients set aside.

Both are functions of their arguments alone: every seed is given, and nothing of an earlier call in the same process is seen.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.networks.arrays import Arrays, check_finite, load_arrays
from medfl.clients.tasks import classification_task, example_slices, segmentation_task
from medfl.clients.tasks.scores import EvaluationResult
from medfl.clients.training.batches import count_steps
from medfl.clients.training.devices import Device, choose_device, deterministic
from medfl.clients.training.losses import build_loss, class_weights
from medfl.clients.training.task import TrainTask
from medfl.data.store.prepared_data import PreparedData
from medfl.errors import ExchangeError, TrainingError
from medfl.messages import records
from medfl.messages.records import Metrics
from medfl.site import Site
from medfl.study import Study
from medfl.system.files import translate_disk_errors, write_file


@dataclass(frozen=True, eq=False)
class TrainOutcome:
    """What training gives back.

    Parameters
    ----------
    arrays : dict of str to ndarray
        The trained tensors, as `get_arrays` orders them.
    metrics : dict
        The ``train.*`` metrics.
    records : mapping of str to dict of str to ndarray
        What goes to the server beside the model.
    """

    arrays: Arrays
    metrics: Metrics
    records: Mapping[str, Arrays] = field(default_factory=dict)


def train(work: TrainTask, half: ClientAlgorithm | None = None) -> TrainOutcome:
    """Train a model on the training cases of a site for one round.

    Parameters
    ----------
    work : Work
        What is asked. The weights of its network are overwritten.
    half : ClientAlgorithm, optional
        The client half of the algorithm; plain training unless given.

    Returns
    -------
    TrainOutcome

    Raises
    ------
    TrainingError
        ``TRAIN-NO-CASES``, ``TRAIN-SHAPES``, ``LOSS-NONFINITE``, ``WEIGHTS-NONFINITE``, ``NET-TOO-DEEP``, ``DEVICE-MISSING``.
    ExchangeError
        When the received arrays do not fit the network.
    """
    begun = time.perf_counter()
    study, cases = work.study, work.prepared.get_split("train")
    place = choose_device(study, work.site)
    with deterministic(study, place, work.seed):
        work.net.to(place.torch_device)
        load_arrays(work.net, work.received)
        update = (half or ClientAlgorithm()).train(dataclasses.replace(work, device=place))
    try:
        for tensors in (update.arrays, *update.records.values()):
            check_finite(tensors)
    except ExchangeError as error:
        raise TrainingError("WEIGHTS-NONFINITE", error.what, error.fix) from None
    told: Metrics = {
        records.TRAIN_PATIENTS: work.prepared.count_patients("train"),
        records.TRAIN_SAMPLES: len(cases),
        records.TRAIN_STEPS: count_steps(study, len(cases)),
        **update.metrics,
        records.TRAIN_SECONDS: time.perf_counter() - begun,
    }
    return TrainOutcome(update.arrays, told, update.records)


def evaluate(
    study: Study,
    site: Site,
    prepared: PreparedData,
    net: nn.Module,
    arrays: Mapping[str, NDArray[np.generic]],
    split: str,
    folder: Path | None = None,
) -> Metrics:
    """Score a model on the patients of one split.

    Parameters
    ----------
    study, site, prepared, net
        As in `Work`.
    arrays : mapping of str to ndarray
        The model.
    split : {"validation", "test"}
        Which patients.
    folder : Path, optional
        The site's own folder. There go ``test.json``, with the scores of each patient by pseudonym, and, when the policy of
        the site allows them, ``previews/preview-1.npz``, ... from the best to the worst image.

    Returns
    -------
    dict
        The ``eval.*`` metrics; zeros when the split holds nobody.
    """
    cases = prepared.get_split(split)
    place = choose_device(study, site)
    with deterministic(study, place, study.seed):
        net.to(place.torch_device)
        load_arrays(net, arrays)
        net.eval()
        # balanced weights belong to the training cases of one site, and losses of sites are to be compared
        weights = None if study.loss.class_weights == ("balanced",) else class_weights(study, ())
        loss = build_loss(study, _to_device(place, weights))
        if study.task.kind == "segmentation":
            keep = folder is not None and site.policy.previews and study.simulation.previews > 0
            scored = segmentation_task.score_cases(study, cases, net, place, loss, split, keep_previews=keep)
        else:
            scored = classification_task.score_cases(study, cases, net, place, loss)
    if folder is not None:
        _write_details(scored, study, split, folder)
    return scored.metrics


def _to_device(place: Device, weights: Tensor | None) -> Tensor | None:
    return None if weights is None else weights.to(place.torch_device)


def _write_details(scored: EvaluationResult, study: Study, split: str, folder: Path) -> None:
    told = {"split": split, "kind": study.task.kind, "patients": scored.patients}
    with translate_disk_errors("the scores by patient"):
        folder.mkdir(parents=True, exist_ok=True)
        write_file(folder / f"{split}.json", json.dumps(told, indent=1).encode())
        if scored.previews:
            example_slices.write_previews(
                example_slices.choose_previews(scored.previews, study.simulation.previews), folder / "previews"
            )
