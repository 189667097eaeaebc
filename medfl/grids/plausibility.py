"""What the numbers of a reply can be: held against what the site told when it joined, the study, and each other.

A site decides alone what it writes into a reply. Its claimed patients are its weight in the model, and its claimed counts its
part of every score; so none may be beyond what it said that it holds, and numbers that count the same patients must agree.
Numbers that a policy hides are zero, and pass. What a site told at joining is its own word, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from medfl.errors import ExchangeError
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
from medfl.metrics import empty_metrics, keys
from medfl.metrics.keys import as_personal, class_keys, class_metric_key, get_numbers, personal_part
from medfl.study import Study
from medfl.study.algorithms import LOSS_ALGORITHMS

Split = Literal["train", "validation", "test"]

_TRAINING = (TRAIN_PATIENTS, TRAIN_SAMPLES, TRAIN_STEPS, TRAIN_LOSS, TRAIN_LOSS_BEFORE, TRAIN_SECONDS)
_MOST_PASSES = 4  # in a round, over what the study plans: an algorithm that trains two models takes twice the steps
_MOST_LOSS = 10.0  # of a training loss that is a weight, in units of what a patient's loss counts at most
_ROUNDING = 1e-3  # of a number that leaves with three decimals
_MOST_COUNTED, _MOST_STEPS = 10_000_000, 10_000_000_000  # patients or images of a site; optimizer steps of a round
_MOST_FURTHER_KEYS, _LONGEST_LIST = 64, 10_000  # of an algorithm of another package


@dataclass(frozen=True)
class ToldCounts:
    """Upper limits of what a site holds, as it told when it joined.

    Parameters
    ----------
    patients, cases : mapping of str to int
        By split. A count that the site's policy hides is the largest that it can be.
    """

    patients: Mapping[str, int]
    cases: Mapping[str, int]

    @staticmethod
    def read(metrics: Metrics) -> ToldCounts | None:
        """Read the numbers of a reply to joining; None when they are none."""
        limits: dict[str, dict[str, int]] = {"patients": {}, "cases": {}}
        for kind, found in limits.items():
            for split in ("train", "validation", "test"):
                told = metrics.get(f"join.{split}-{kind}")
                if not isinstance(told, int) or abs(told) > _MOST_COUNTED:
                    return None
                found[split] = told if told >= 0 else -told - 1
        return ToldCounts(**limits)

    def at_most(self, other: ToldCounts) -> ToldCounts:
        """Return the lower one of each pair of limits."""
        return ToldCounts(
            {split: min(count, other.patients[split]) for split, count in self.patients.items()},
            {split: min(count, other.cases[split]) for split, count in self.cases.items()},
        )


def check_training(metrics: Metrics, study: Study, told: ToldCounts | None, *, is_known: bool) -> None:
    """Check the numbers of a reply to training.

    Parameters
    ----------
    metrics : dict
        All metrics of the reply.
    study : Study
        What is trained.
    told : ToldCounts, optional
        What the site told when it joined; None for a client of another package, which tells nothing.
    is_known : bool
        Whether the algorithm is medfl's own, whose metrics are known.

    Raises
    ------
    ExchangeError
        ``METRICS-UNKNOWN``, ``COUNT-TOLD``, ``METRICS-RANGE`` or ``METRICS-SUM``.
    """
    _check_names(metrics, study, is_known=is_known)
    patients, samples, steps = (_count(metrics, key) for key in (TRAIN_PATIENTS, TRAIN_SAMPLES, TRAIN_STEPS))
    if told is not None:
        _require_told(TRAIN_PATIENTS, patients, told.patients["train"])
        _require_told(TRAIN_SAMPLES, samples, told.cases["train"])
        _require_told(TRAIN_STEPS, steps, _MOST_PASSES * _planned_steps(study, told.cases["train"]))
    # where hospitals are weighed by their losses, a large one would be a hospital's weight
    most = _MOST_LOSS * study.max_loss if study.strategy.name in LOSS_ALGORITHMS else math.inf
    for key in (TRAIN_LOSS, TRAIN_LOSS_BEFORE, TRAIN_SECONDS):
        value = metrics.get(key, 0.0)
        limit = most if key != TRAIN_SECONDS else math.inf
        is_below = is_known and not isinstance(value, list) and value < -_ROUNDING
        if isinstance(value, list) or is_below or math.isinf(value) or value > limit:  # a hidden loss is no number
            raise ExchangeError("METRICS-RANGE", f"the metric {key!r} of a reply is out of its range.")
    _check_all_evaluations(metrics, study, told, "validation")


def check_evaluation(metrics: Metrics, study: Study, told: ToldCounts | None, split: Split) -> None:
    """Check the numbers of a reply to an evaluation; raises as `check_training` does."""
    _check_names(metrics, study, is_known=True)
    _check_all_evaluations(metrics, study, told, split)


def _check_all_evaluations(metrics: Metrics, study: Study, told: ToldCounts | None, split: Split) -> None:
    for evaluation in (metrics, personal_part(metrics)):
        if EVAL_PATIENTS in evaluation:
            _check_counts(evaluation, told, split)
            check = _check_segmentation if study.task.kind == "segmentation" else _check_classification
            check(evaluation, study)


def _check_names(metrics: Metrics, study: Study, *, is_known: bool) -> None:
    """Refuse what no reply holds: it would be written into the history of the run, once a round."""
    evaluation = empty_metrics(study)
    known = {*_TRAINING, *evaluation, *as_personal(evaluation)}
    further = metrics.keys() - known
    if further and (is_known or len(further) > _MOST_FURTHER_KEYS or max(map(len, further)) > 100):
        raise ExchangeError("METRICS-UNKNOWN", f"a reply holds {len(further)} metrics that the study does not ask for.")
    if any(isinstance(value, list) and len(value) > _LONGEST_LIST for value in metrics.values()):
        raise ExchangeError("METRICS-UNKNOWN", "a reply holds a longer list than any study needs.")


def _check_counts(evaluation: Metrics, told: ToldCounts | None, split: Split) -> None:
    for key, value in evaluation.items():
        if key.startswith("eval.") and not _is_number_from_zero(value):
            raise ExchangeError("METRICS-RANGE", f"the metric {key!r} of a reply is negative, or no number.")
    patients = _count(evaluation, EVAL_PATIENTS)
    if told is not None:
        _require_told(EVAL_PATIENTS, patients, told.patients[split])
        _require_told(keys.SAMPLES, _count(evaluation, keys.SAMPLES), told.cases[split])


def _check_segmentation(evaluation: Metrics, study: Study) -> None:
    patients = _count(evaluation, EVAL_PATIENTS)
    _require_most(evaluation, EVAL_LOSS, study.max_loss)
    _require_parts(evaluation, keys.SURFACE_PATIENTS, patients)
    for name in class_keys(study.task.foreground):
        for metric, limit in (("dice", 1.0), ("surface-dice", 1.0), ("hd95", study.max_distance)):
            _require_most(evaluation, class_metric_key(metric, name), limit)
        annotated = class_metric_key("patients", name)
        _require_parts(evaluation, annotated, patients)
        for metric in ("present", *keys.COUNTS):
            _require_parts(evaluation, class_metric_key(metric, name), _count(evaluation, annotated))


def _check_classification(evaluation: Metrics, study: Study) -> None:
    _require_most(evaluation, EVAL_LOSS, study.max_loss)
    totals = [keys.CONFUSION, keys.CALIBRATION_COUNT]
    sums = {key: _total(evaluation, [key]) for key in totals}
    for name in class_keys(study.task.foreground):
        sums[name] = _total(evaluation, [class_metric_key(side, name) for side in keys.HISTOGRAMS])
    units = {total for total in sums.values() if total}  # what is hidden is zero
    if len(units) > 1:
        raise ExchangeError("METRICS-SUM", "the histograms and the confusion matrix of a reply count different patients.")
    patients = _count(evaluation, EVAL_PATIENTS)
    if units and not patients <= max(units) <= patients * len(study.task.foreground):
        raise ExchangeError("METRICS-SUM", "the histograms of a reply do not count the patients that it says it has.")
    counted = _list(evaluation, keys.CALIBRATION_COUNT)
    for key in (keys.CALIBRATION_CORRECT, keys.CALIBRATION_CONFIDENCE):
        parts = _list(evaluation, key)
        if any(part > most + _ROUNDING for part, most in zip(parts, counted, strict=False)):
            raise ExchangeError("METRICS-SUM", f"the metric {key!r} of a reply is more than the patients behind it.")


def _planned_steps(study: Study, cases: int) -> int:
    training = study.training
    images = cases * max(1, training.patches_per_image)
    return training.local_steps or training.local_epochs * max(1, images)


def _require_told(key: str, value: int, most: int) -> None:
    if value > most:
        what = f"the metric {key!r} of a reply is {value}, and the site told {most} at most when it joined."
        raise ExchangeError("COUNT-TOLD", what, "Find out what changed at the site.")


def _require_most(evaluation: Metrics, key: str, most: float) -> None:
    value = evaluation.get(key, 0.0)
    if isinstance(value, list) or value > most + _ROUNDING:
        raise ExchangeError("METRICS-RANGE", f"the metric {key!r} of a reply is above {most:g}.")


def _require_parts(evaluation: Metrics, key: str, most: int) -> None:
    if _count(evaluation, key) > most:
        raise ExchangeError("METRICS-SUM", f"the metric {key!r} of a reply is more than the patients behind it.")


def _count(metrics: Metrics, key: str) -> int:
    """Return a count of a reply, 0 where it has none."""
    value = metrics.get(key, 0)
    if not isinstance(value, int) or not 0 <= value <= (_MOST_STEPS if key == TRAIN_STEPS else _MOST_COUNTED):
        raise ExchangeError("METRICS-RANGE", f"the metric {key!r} of a reply is not a count of patients, images or steps.")
    return value


def _total(evaluation: Metrics, names: Sequence[str]) -> int:
    return sum(int(n) for name in names for n in _list(evaluation, name))


def _list(evaluation: Metrics, key: str) -> list[float]:
    """Return a list of a reply, empty where it has none; one number in its place must end as a refusal, too."""
    if not isinstance(evaluation.get(key, []), list):
        raise ExchangeError("METRICS-RANGE", f"the metric {key!r} of a reply is one number, and must be a list.")
    return get_numbers(evaluation, key) if key in evaluation else []


def _is_number_from_zero(value: MetricValue) -> bool:
    numbers = value if isinstance(value, list) else [value]
    return all(math.isfinite(number) and number >= -_ROUNDING for number in numbers)
