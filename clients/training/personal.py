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
from medfl.clients.algorithms.base import Half
from medfl.clients.networks.arrays import Arrays, check_finite, exchange_arrays, load_arrays
from medfl.clients.training import session
from medfl.clients.training.devices import choose_place, settled
from medfl.clients.training.loop import fit, with_steps
from medfl.clients.training.task import Work
from medfl.errors import ExchangeError, TrainingError
from medfl.messages.models import Tensors
from medfl.messages.records import Metrics
from medfl.study import Study

_NAME, _SCORE = "personal", "personal-score"  # of the site's best model in its state, and of what it scored


def is_asked(work: Work) -> bool:
    """Tell whether the site ends with a model of its own: not in the arm where it has no other."""
    return work.study.has_personal_models and work.arm != "local"


def keep_better(work: Work, half: Half, scores: Metrics) -> None:
    """Score the site's own model on its validation patients, and keep it if it is the best so far.

    Parameters
    ----------
    work : Work
        Its round decides what "so far" means.
    half : Half
        Of the algorithm; knows the site's own model.
    scores : dict
        Those of ``work.received``, if that is the site's own model.
    """
    if not is_asked(work):
        return
    own = half.personal(work)
    if own is work.received and not work.study.local_layers:
        return  # there is nothing of its own yet
    score = metrics.headline(work.study, scores) if own is work.received else _score(work, own)
    best = work.remembered().load(_SCORE)
    if score > (-math.inf if best is None else float(best["score"])):  # without patients it is nan, and nothing is kept
        work.remembered().save(_NAME, own)
        work.remembered().save(_SCORE, {"score": np.array(score)})


def chosen(work: Work, half: Half) -> Tensors:
    """Return the site's own model as it is to be tested, tuned if the study asks for that, and keep it.

    Parameters
    ----------
    work : Work
        Holds the chosen shared model, completed with the site's own layers if some stay here.
    half : Half
        Of the algorithm.
    """
    kept = work.remembered().load(_NAME)
    best = half.personal(work) if kept is None else kept
    own = tuned(work, best) if work.study.personal.fine_tune_steps else best
    if own is not kept:
        work.remembered().save(_NAME, own)
    return own


def tested(work: Work, half: Half, folder: Path | None) -> Metrics:
    """Return the scores of `chosen` on the test patients; a simulated site's details go beside those of the shared model."""
    own, place = chosen(work, half), folder / "personal" if folder else None
    return session.evaluate(work.study, work.site, work.prepared, work.net, own, "test", place)


def tuned(work: Work, own: Tensors) -> Tensors:
    """Return a model after the study's steps of fine-tuning, or as it was if validation patients are not served better.

    The learning rate goes once through the study's schedule, without its warm-up.
    """
    try:
        candidate = _fine_tune(work, own)
        check_finite(candidate)
    except (TrainingError, ExchangeError):  # it diverged, or there is nothing to tune it on
        return own
    return candidate if _score(work, candidate) > _score(work, own) else own


def _fine_tune(work: Work, own: Tensors) -> Arrays:
    study, place = _closing(work.study), choose_place(work.study, work.site)
    with settled(study, place, work.seed):
        work.net.to(place.device)
        load_arrays(work.net, own)
        fit(dataclasses.replace(work, study=study, place=place, server_round=1), work.net)
    return exchange_arrays(work.net)


def _closing(study: Study) -> Study:
    """Return the study as one round of fine-tuning."""
    schedule = study.schedule.model_copy(update={"warmup_rounds": 0})
    return with_steps(study, study.personal.fine_tune_steps).model_copy(update={"rounds": 1, "schedule": schedule})


def _score(work: Work, model: Tensors) -> float:
    """Return the headline score on the site's validation patients, nan without any."""
    scores = session.evaluate(work.study, work.site, work.prepared, work.net, model, "validation")
    return metrics.headline(work.study, scores)
