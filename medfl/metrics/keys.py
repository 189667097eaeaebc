"""Names of the metrics of an evaluation, and typed access to their values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from medfl.errors import ConfigError, Problem
from medfl.messages.records import Metrics

_EVAL, _PERSONAL = "eval.", "personal."

HIDDEN = "eval.hidden"  # 1: the site's policy hides the whole evaluation; merged, the number of such sites
CONFUSION_HIDDEN, CALIBRATION_HIDDEN = "eval.confusion-hidden", "eval.calibration-hidden"  # likewise
LOSS_HIDDEN, SURFACE_HIDDEN = "eval.loss-hidden", "eval.surface-hidden"  # likewise
SURFACE_PATIENTS = "eval.surface-patients"  # patients of whom hd95 and surface-dice were measured; 0: not measured
SAMPLES = "eval.samples"  # images
CONFUSION = "eval.confusion"  # row-major, truth x prediction, in units (images of one patient with one label)
CALIBRATION_COUNT = "eval.calibration-count"
CALIBRATION_CONFIDENCE = "eval.calibration-confidence"  # sum of the top-label probabilities of a bin
CALIBRATION_CORRECT = "eval.calibration-correct"

MEANS = ("dice", "hd95", "surface-dice")  # segmentation, over patients
SURFACE = ("hd95", "surface-dice")
COUNTS = ("missed", "false-positive")
DENOMINATORS = ("patients", "present")  # patients in whom the class is annotated, and in whom it is present
HISTOGRAMS = ("positives", "negatives")
SUPPRESSED_DIGITS = 3  # decimals of every number of a reply in which a site's policy suppresses small counts


def class_key(name: str) -> str:
    """Return the spelling of a class name inside a metric key.

    Examples
    --------
    >>> class_key("Enhancing Tumour"), class_key("T_stage.2")
    ('enhancing-tumour', 't-stage-2')
    """
    return re.sub(r"[\s_.]+", "-", name.strip().lower())


def class_keys(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the spelling of every class name inside metric keys.

    Raises
    ------
    ConfigError
        When two classes would share one key.
    """
    keys = tuple(class_key(name) for name in classes)
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ConfigError(
            [
                Problem(
                    "study",
                    "task.classes",
                    f"two classes are both spelled {twice!r} in metrics.",
                    "Names must differ in more than case, blanks, '_' and '.'.",
                )
            ]
        )
    return keys


def class_metric_key(metric: str, key: str) -> str:
    """Return the full key of a metric of one class.

    Examples
    --------
    >>> class_metric_key("dice", "liver")
    'eval.dice.liver'
    """
    return f"eval.{metric}.{key}"


def hidden_key(what: str, key: str) -> str:
    """Return the key for the number of sites that hide something about one class.

    Examples
    --------
    >>> hidden_key("scores", "liver")
    'eval.scores-hidden.liver'
    """
    return class_metric_key(f"{what}-hidden", key)


def as_personal(metrics: Metrics) -> Metrics:
    """Return the evaluation of a personal model under names of their own, next to those of the shared one.

    Examples
    --------
    >>> as_personal({"eval.dice.liver": 0.9})
    {'personal.dice.liver': 0.9}
    """
    return {_PERSONAL + key.removeprefix(_EVAL): value for key, value in metrics.items() if key.startswith(_EVAL)}


def personal_part(metrics: Metrics) -> Metrics:
    """Return what `as_personal` renamed under its original names; empty where there is nothing of the kind."""
    return {_EVAL + key.removeprefix(_PERSONAL): value for key, value in metrics.items() if key.startswith(_PERSONAL)}


def hides_score(metrics: Mapping[str, object]) -> bool:
    """Return whether a policy hides the headline score of a site, or a class of it."""
    classes = hidden_key("scores", "")
    return any(bool(value) for key, value in metrics.items() if key == HIDDEN or key.startswith(classes))


def get_number(metrics: Metrics, key: str) -> float:
    """Return a metric that is one number."""
    value = metrics[key]
    if isinstance(value, list):
        raise TypeError(f"metric {key!r} is a list")
    return float(value)


def get_numbers(metrics: Metrics, key: str) -> list[float]:
    """Return a metric that is a list."""
    value = metrics[key]
    if not isinstance(value, list):
        raise TypeError(f"metric {key!r} is one number")
    return [float(v) for v in value]
