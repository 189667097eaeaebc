"""Release of scores: which numbers of a reply leave a site, and in which steps.

What the server does not need in a round stays at home: of a validation leaves what makes the headline score, of a test all
(``policy.scores``). What stays is zero, and a key that ends in ``hidden`` is 1. Every score is rounded to steps of its range
(`medfl.privacy.score_rounding`), after the rules for small counts (`medfl.privacy.suppression`). So whatever model a server
sends, it reads in each answer one of a known number of values. In a simulation nothing is rounded (``exact``).
"""

from __future__ import annotations

import math
from typing import Literal

from medfl.messages.records import (
    EVAL_LOSS,
    EVAL_PATIENTS,
    TRAIN_LOSS,
    TRAIN_LOSS_BEFORE,
    TRAIN_PATIENTS,
    TRAIN_SAMPLES,
    TRAIN_SECONDS,
    TRAIN_STEPS,
    Metrics,
    MetricValue,
)
from medfl.metrics import keys
from medfl.metrics.keys import class_keys, class_metric_key, get_number, get_numbers, hidden_key
from medfl.privacy.policy_checks import may_tell_losses
from medfl.privacy.score_noise import ScoreNoise
from medfl.privacy.score_rounding import count_trained, list_means, round_number, round_score, round_training_loss
from medfl.privacy.suppression import hide_number, suppress, suppress_all, zero_like
from medfl.site import Policy
from medfl.study import Study

Split = Literal["validation", "test"]

_WORK = (TRAIN_PATIENTS, TRAIN_SAMPLES, TRAIN_STEPS)  # counts of the work, the same whatever the model


def release_scores(
    metrics: Metrics,
    study: Study,
    policy: Policy,
    split: Split,
    noise: ScoreNoise | None = None,
    *,
    private_model: bool = False,
) -> Metrics:
    """Return the numbers of a reply as they leave.

    Parameters
    ----------
    metrics : dict
        The ``eval.*`` metrics of an evaluation, the ``train.*`` metrics of training, or both.
    study : Study
        Gives the ranges of the scores.
    policy : Policy
        Its ``min-count`` and ``scores`` decide.
    split : {"validation", "test"}
        Whose patients the evaluation is of.
    noise : ScoreNoise, optional
        What ``policy.score-noise`` adds.
    private_model : bool
        Whether the model was trained by the site itself, in part at least, and has not left: then its scores tell of training
        patients, too, more than any noise of their size hides, so under noise they stay.

    Returns
    -------
    dict
        The same keys.
    """
    if policy.scores == "exact" and noise is None:
        return _training_part(metrics) | suppress(_evaluation_part(metrics), policy.min_count)
    evaluation = _evaluation_part(metrics)
    patients = get_number(evaluation, EVAL_PATIENTS) if evaluation else 0
    if patients and (policy.scores == "none" or (noise and private_model)):
        evaluation = suppress_all(evaluation)
    elif patients:
        evaluation = _release_evaluation(evaluation, study, policy, split, noise)
    return _release_training(_training_part(metrics), study, policy, noise) | evaluation


def _training_part(metrics: Metrics) -> Metrics:
    return {key: value for key, value in metrics.items() if not key.startswith("eval.")}


def _evaluation_part(metrics: Metrics) -> Metrics:
    return {key: value for key, value in metrics.items() if key.startswith("eval.")}


def _release_training(numbers: Metrics, study: Study, policy: Policy, noise: ScoreNoise | None) -> Metrics:
    patients = count_trained(study, int(get_number(numbers, TRAIN_PATIENTS))) if TRAIN_PATIENTS in numbers else 0
    hidden = noise is not None or not may_tell_losses(study, policy)
    released: Metrics = {}
    for key, value in numbers.items():
        if key in _WORK:
            released[key] = value
        elif key == TRAIN_SECONDS:
            released[key] = float(math.ceil(get_number(numbers, key)))
        elif hidden:
            released[key] = hide_number(value)
        elif key in (TRAIN_LOSS, TRAIN_LOSS_BEFORE):
            released[key] = round_training_loss(get_number(numbers, key), study.max_loss, patients)
        else:
            released[key] = _round_unknown(value)
    return released


def _round_unknown(value: MetricValue) -> MetricValue:
    """Round a number of another package's algorithm, whose range is not known."""
    if isinstance(value, list):
        return [round_number(v) for v in value] if any(isinstance(v, float) for v in value) else value
    return round_number(value) if isinstance(value, float) else value


def _release_evaluation(metrics: Metrics, study: Study, policy: Policy, split: Split, noise: ScoreNoise | None) -> Metrics:
    """Hide what stays, then add noise, then round. Histograms get their noise first, as bins are merged by what they hold."""
    is_segmentation = study.task.kind == "segmentation"
    beside, counts = (_beside_dice, _hide_counts) if is_segmentation else (_beside_histograms, _beside_histograms)
    noised = noise.add_to_histograms(study, metrics, policy.min_count) if noise and not is_segmentation else metrics
    released = suppress(noised, policy.min_count)
    if released[keys.HIDDEN]:
        return released
    if split == "validation" and policy.scores == "headline":
        released |= {EVAL_LOSS: 0.0, keys.LOSS_HIDDEN: 1} | beside(study, released)
    if noise:
        released = noise.add_to_means(study, released | counts(study, released))
    return _round_evaluation(study, released)


def _beside_dice(study: Study, metrics: Metrics) -> Metrics:
    """Return the scores of a segmentation beside the mean Dice, hidden."""
    hidden: Metrics = {keys.SURFACE_PATIENTS: 0, keys.SURFACE_HIDDEN: int(bool(metrics[keys.SURFACE_PATIENTS]))}
    for name in class_keys(study.task.foreground):
        hidden |= {class_metric_key(metric, name): 0.0 for metric in keys.SURFACE}
    return hidden | _hide_counts(study, metrics)


def _hide_counts(study: Study, metrics: Metrics) -> Metrics:
    """Return the patients who were missed, and the false positives, hidden."""
    hidden: Metrics = {}
    for name in class_keys(study.task.foreground):
        hidden |= {class_metric_key(metric, name): 0 for metric in keys.COUNTS}
        hidden |= {hidden_key(metric, name): 1 for metric in keys.COUNTS}
    return hidden


def _beside_histograms(study: Study, metrics: Metrics) -> Metrics:
    """Return the scores of a classification beside the histograms that make its AUROC, hidden."""
    parts = (keys.CONFUSION, keys.CALIBRATION_COUNT, keys.CALIBRATION_CONFIDENCE, keys.CALIBRATION_CORRECT)
    zeros = {key: zero_like(metrics[key]) for key in parts}
    return zeros | {keys.CONFUSION_HIDDEN: 1, keys.CALIBRATION_HIDDEN: 1}


def _round_evaluation(study: Study, metrics: Metrics) -> Metrics:
    rounded: Metrics = {
        key: round_score(get_number(metrics, key), limit, patients) for key, limit, patients in list_means(study, metrics)
    }
    if study.task.kind == "classification":
        counts, sums = (get_numbers(metrics, key) for key in (keys.CALIBRATION_COUNT, keys.CALIBRATION_CONFIDENCE))
        pairs = zip(sums, counts, strict=True)
        rounded[keys.CALIBRATION_CONFIDENCE] = [round_score(each, n, int(n)) if n else 0.0 for each, n in pairs]
    return metrics | rounded
