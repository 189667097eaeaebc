"""The model of its own that a hospital ends with, beside the one that all share: which it is, and its best.

It is whole: of the shared and the local layers as they stood together, or what the algorithm trains beside the shared model.
The best by the site's own validation patients lies in its state, where the hospital finds it, and never leaves.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np

from medfl import metrics
from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.networks.arrays import Arrays, check_finite, get_arrays, load_arrays
from medfl.clients.training import session
from medfl.clients.training.devices import choose_device, deterministic
from medfl.clients.training.loop import train_steps, with_steps
from medfl.clients.training.task import TrainTask
from medfl.errors import ExchangeError, TrainingError
from medfl.messages.models import Tensors
from medfl.messages.records import Metrics
from medfl.study import Study

_STATE_NAME, _SCORE_NAME = "personal", "personal-score"  # of the site's best model in its state, and of what it scored


def has_personal_model(work: TrainTask) -> bool:
    """Tell whether the site ends with a model of its own: not in the arm where it has no other."""
    return work.study.has_personal_models and work.arm != "local"


def save_if_best(work: TrainTask, half: ClientAlgorithm, scores: Metrics) -> None:
    """Score the site's own model on its validation patients, and keep it if it is the best so far.

    Parameters
    ----------
    work : Work
        Its round decides what "so far" means.
    half : ClientAlgorithm
        Of the algorithm; knows the site's own model.
    scores : dict
        Those of ``work.received``, if that is the site's own model.
    """
    if not has_personal_model(work):
        return
    own = half.personal_model(work)
    if own is work.received and not work.study.local_layers:
        return  # there is nothing of its own yet
    score = metrics.headline(work.study, scores) if own is work.received else _score(work, own)
    best = work.require_state().load(_SCORE_NAME)
    if score > (-math.inf if best is None else float(best["score"])):  # without patients it is nan, and nothing is kept
        work.require_state().save(_STATE_NAME, own)
        work.require_state().save(_SCORE_NAME, {"score": np.array(score)})


def final_model(work: TrainTask, half: ClientAlgorithm) -> Tensors:
    """Return the site's own model as it is to be tested, tuned if the study asks for that, and keep it.

    Parameters
    ----------
    work : Work
        Holds the chosen shared model, completed with the site's own layers if some stay here.
    half : ClientAlgorithm
        Of the algorithm.
    """
    kept = work.require_state().load(_STATE_NAME)
    best = half.personal_model(work) if kept is None else kept
    own = fine_tune_if_better(work, best) if work.study.personal.fine_tune_steps else best
    if own is not kept:
        work.require_state().save(_STATE_NAME, own)
    return own


def evaluate_personal(work: TrainTask, half: ClientAlgorithm, folder: Path | None) -> Metrics:
    """Return the scores of `chosen` on the test patients; a simulated site's details go beside those of the shared model."""
    own, place = final_model(work, half), folder / "personal" if folder else None
    return session.evaluate(work.study, work.site, work.prepared, work.net, own, "test", place)


def fine_tune_if_better(work: TrainTask, own: Tensors) -> Tensors:
    """Return a model after the study's steps of fine-tuning, or as it was if validation patients are not served better.

    The learning rate goes once through the study's schedule, without its warm-up.
    """
    try:
        candidate = _fine_tune(work, own)
        check_finite(candidate)
    except (TrainingError, ExchangeError):  # it diverged, or there is nothing to tune it on
        return own
    return candidate if _score(work, candidate) > _score(work, own) else own


def _fine_tune(work: TrainTask, own: Tensors) -> Arrays:
    study, place = _fine_tune_study(work.study), choose_device(work.study, work.site)
    with deterministic(study, place, work.seed):
        work.net.to(place.torch_device)
        load_arrays(work.net, own)
        train_steps(dataclasses.replace(work, study=study, device=place, server_round=1), work.net)
    return get_arrays(work.net)


def _fine_tune_study(study: Study) -> Study:
    """Return the study as one round of fine-tuning."""
    schedule = study.schedule.model_copy(update={"warmup_rounds": 0})
    return with_steps(study, study.personal.fine_tune_steps).model_copy(update={"rounds": 1, "schedule": schedule})


def _score(work: TrainTask, model: Tensors) -> float:
    """Return the headline score on the site's validation patients, nan without any."""
    scores = session.evaluate(work.study, work.site, work.prepared, work.net, model, "validation")
    return metrics.headline(work.study, scores)
