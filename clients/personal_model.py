"""The personal model of a site: the one that it ends with besides the shared model.

It is a whole model: shared and local layers together, or the one that the algorithm trains besides the shared one. The best by
the site's own validation patients is kept in the site's state, where the hospital finds it, and never leaves.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from medfl import metrics
from medfl.clients import session
from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.networks.arrays import Arrays, check_finite, get_arrays, load_arrays
from medfl.clients.training.client_state import ClientState
from medfl.clients.training.devices import deterministic
from medfl.clients.training.fine_tuning import fine_tuning_study
from medfl.clients.training.loop import train_steps, with_steps
from medfl.clients.training.task import TrainTask
from medfl.errors import ExchangeError, TrainingError
from medfl.messages.models import Tensors
from medfl.messages.records import Metrics

_STATE_NAME, _SCORE_NAME = "personal", "personal-score"  # names in the site's state: its best model, and the score of that


def has_personal_model(task: TrainTask) -> bool:
    """Return whether the site ends with a personal model; only the arm "federated" has both, and only sites that train."""
    trains = task.site.name not in task.study.evaluation.external
    return task.study.has_personal_models and task.arm == "federated" and trains


def save_if_best(task: TrainTask, algorithm: ClientAlgorithm, scores: Metrics) -> None:
    """Score the personal model on the site's validation patients, and keep it if it is the best so far.

    Parameters
    ----------
    task : TrainTask
        The work of the round.
    algorithm : ClientAlgorithm
        Knows the personal model.
    scores : dict
        Scores of ``task.received``, used where that is the personal model.
    """
    if not has_personal_model(task):
        return
    own = algorithm.personal_model(task)
    if own is task.received and not task.study.local_layers:
        return  # no personal model yet
    score = metrics.headline(task.study, scores) if own is task.received else _score(task, own)
    best = task.state.load(_SCORE_NAME)
    if score > (-math.inf if best is None else float(best["score"])):  # without patients the score is nan, and nothing is kept
        task.state.save(_STATE_NAME, own)
        task.state.save(_SCORE_NAME, {"score": np.array(score)})


def final_model(task: TrainTask, algorithm: ClientAlgorithm) -> Tensors:
    """Return the personal model to be tested, fine-tuned if the study asks for it, and keep it.

    Parameters
    ----------
    task : TrainTask
        Its `received` is the chosen shared model, completed with the site's own layers.
    algorithm : ClientAlgorithm
        Knows the personal model.
    """
    saved = task.state.load(_STATE_NAME)
    best = algorithm.personal_model(task) if saved is None else saved
    own = fine_tune_if_better(task, best) if task.study.personal.fine_tune_steps else best
    if own is not saved:
        task.state.save(_STATE_NAME, own)
    return own


def load_personal_model(state: ClientState) -> Tensors | None:
    """Return the personal model that a site has kept in its state: the one that was tested, once the run is over."""
    return state.load(_STATE_NAME)


def evaluate_personal(task: TrainTask, model: Tensors, own: session.OwnResults | None) -> Metrics:
    """Return the scores of `final_model` on the test patients; details by patient go to the subfolder ``personal``."""
    details = own and dataclasses.replace(own, folder=own.folder / "personal")
    return session.evaluate(task.study, task.site, task.prepared, task.net, model, "test", details)


def fine_tune_if_better(task: TrainTask, own: Tensors) -> Tensors:
    """Return a model after the study's steps of fine-tuning, or unchanged unless its score on validation patients rises.

    The learning rate goes through the study's schedule once, without its warm-up.
    """
    try:
        candidate = _fine_tune(task, own)
        check_finite(candidate)
    except (TrainingError, ExchangeError):  # it diverged, or there is no training case
        return own
    return candidate if _score(task, candidate) > _score(task, own) else own


def _fine_tune(task: TrainTask, own: Tensors) -> Arrays:
    study = fine_tuning_study(with_steps(task.study, task.study.personal.fine_tune_steps), rounds=1)
    device = task.device
    with deterministic(study, device, task.seed):
        task.net.to(device.torch_device)
        load_arrays(task.net, own)
        train_steps(dataclasses.replace(task, study=study, server_round=1), task.net)
    return get_arrays(task.net)


def _score(task: TrainTask, model: Tensors) -> float:
    """Return the headline score on the site's validation patients, nan if there are none."""
    scores = session.evaluate(task.study, task.site, task.prepared, task.net, model, "validation")
    return metrics.headline(task.study, scores)
