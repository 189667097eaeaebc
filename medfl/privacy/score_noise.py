"""Noise on scores: (epsilon, delta)-differential privacy of the scores of a study, for patients who are scored.

The promise is about replacing one scored patient by another one of the same annotations and labels. It holds for all scores of
the runs that an approval allows by itself, together, whatever models the server sends; each run that a hospital adds costs as
much as one of these. Outside of it lie the numbers of patients behind a score, whether the rules for small counts hide it,
whether there is an answer at all, and trained models, which hold more than scores.

Every question gets Gaussian noise, and the questions are composed as zero-concentrated differential privacy (Bun and Steinke
2016, https://arxiv.org/abs/1605.02658): a question whose numbers change by at most D (Euclidean) costs ``D^2 / 2 s^2`` with
noise of the standard deviation s, costs add up to rho, and ``epsilon = rho + 2 sqrt(rho ln(1 / delta))``. Noise comes from the
site's secret, the question and the scores themselves: asking again gives the same number, and no second one to average.

Histograms are made coarse before the noise, and are brought back to their sum, which is a count, after it. What this does not
protect stays at the site while there is noise: counts of patients by outcome, confusion and calibration, training losses (each
patient changes all later ones), and scores of models that the site's own training patients shaped.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medfl.messages.records import EVAL_PATIENTS, Metrics
from medfl.metrics.curves import BINS, mirror
from medfl.metrics.keys import HISTOGRAMS, class_keys, class_metric_key, get_number, get_numbers
from medfl.privacy.ledger_rows import RUNS_ALLOWED
from medfl.privacy.questions import Allowance, list_allowances
from medfl.privacy.score_rounding import list_means
from medfl.site import Site
from medfl.study import Study

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COARSE_BINS = 16  # of a histogram under noise; each has a sixteenth of the fine bins


@dataclass(frozen=True)
class ScoreNoise:
    """Noise for the scores of one question.

    Parameters
    ----------
    scale : float
        Standard deviation for numbers of which one patient changes the Euclidean norm by 1.
    key : bytes
        Secret of the question.
    """

    scale: float
    key: bytes

    def add_to_means(self, study: Study, metrics: Metrics) -> Metrics:
        """Return an evaluation with noise on every mean over patients that is not hidden; it may leave the range."""
        spread, draw = self.scale * sensitivity(study, metrics), self._generator(metrics)
        noised = {
            key: get_number(metrics, key) + spread * limit / patients * draw.standard_normal()
            for key, limit, patients in list_means(study, metrics)
        }
        return metrics | noised

    def add_to_histograms(self, study: Study, metrics: Metrics, k: int) -> Metrics:
        """Return a classification with noise on its histograms of scores, which keep their sums, unless all will be hidden."""
        if get_number(metrics, EVAL_PATIENTS) < k:
            return metrics
        names, draw = class_keys(study.task.foreground), self._generator(metrics)
        spread, noised = self.scale * sensitivity(study, metrics), dict(metrics)
        for name in names[-1:] if len(names) == 2 else names:
            for side in HISTOGRAMS:
                key = class_metric_key(side, name)
                noised[key] = _add_to_counts(get_numbers(metrics, key), spread, draw)
        if len(names) == 2:  # one class is the mirror image of the other, and must not have a noise of its own
            for side, other in zip(HISTOGRAMS, reversed(HISTOGRAMS), strict=True):
                counts = get_numbers(noised, class_metric_key(other, names[1]))
                noised[class_metric_key(side, names[0])] = mirror([int(n) for n in counts])
        return noised

    def _generator(self, metrics: Metrics) -> np.random.Generator:
        content = json.dumps(metrics, sort_keys=True).encode()  # other data must not get the same noise
        return np.random.default_rng(int.from_bytes(hmac.digest(self.key, content, hashlib.sha256)))


def build_score_noise(study: Study, site: Site, question: str) -> ScoreNoise | None:
    """Return the noise of a site for the scores of one question; None where its policy has none.

    Parameters
    ----------
    study : Study
        Decides how many questions share the budget.
    site : Site
        Its policy says epsilon and delta.
    question : str
        Digest of the question, `medfl.privacy.questions.Question`.
    """
    if not site.policy.score_noise:
        return None
    epsilon, delta = site.policy.score_noise
    scale = math.sqrt(RUNS_ALLOWED * count_scored(study) / (2 * to_concentrated(epsilon, delta)))
    return ScoreNoise(scale, hmac.digest(site.secret(), f"score-noise|{question}".encode(), hashlib.sha256))


def to_concentrated(epsilon: float, delta: float) -> float:
    """Return the largest rho of zero-concentrated privacy that gives (epsilon, delta).

    Examples
    --------
    >>> round(to_concentrated(8.0, 1e-5), 3)
    1.049
    """
    slack = math.log(1 / delta)
    return (math.sqrt(slack + epsilon) - math.sqrt(slack)) ** 2


def count_scored(study: Study) -> int:
    """Return how many questions of one run get scores in their answers."""
    return sum(_count_scored(study, allowance) for allowance in list_allowances(study))


def _count_scored(study: Study, allowance: Allowance) -> int:
    if allowance.kind in ("join", "fingerprint"):
        return 0
    if allowance.kind == "train":  # the received model is scored, the first one excepted
        return sum(number > 1 and (number - 1) % study.evaluation.every == 0 for number in allowance.rounds)
    return allowance.questions


def sensitivity(study: Study, metrics: Metrics) -> float:
    """Return by how much one patient can change the scores of an answer, as a Euclidean norm.

    A mean counts in units of its range over the number of patients, so that each adds 1 to the square. In a classification a
    patient moves each of their units, one for each label they have, from one bin to another in the histograms of each class.
    """
    if study.task.kind == "segmentation":
        return math.sqrt(len(list(list_means(study, metrics))))
    names = class_keys(study.task.foreground)
    units = int(sum(sum(get_numbers(metrics, class_metric_key("positives", name))) for name in names))
    by_patient = max(1, min(len(names), units - int(get_number(metrics, EVAL_PATIENTS)) + 1))
    histograms = 1 if len(names) == 2 else len(names)
    return math.sqrt(1 + 2 * by_patient**2 * histograms)  # the loss; in each histogram from one bin to another


def _add_to_counts(counts: list[float], spread: float, draw: np.random.Generator) -> list[int]:
    width = BINS // _COARSE_BINS
    coarse = np.asarray(counts).reshape(_COARSE_BINS, width).sum(axis=1)
    total = int(coarse.sum())
    noised = _round_to_sum(_project(coarse + spread * draw.standard_normal(_COARSE_BINS), total), total)
    result = np.zeros(BINS, dtype=np.int64)
    result[width // 2 :: width] = noised
    return [int(n) for n in result]


def _project(values: NDArray[np.float64], total: int) -> NDArray[np.float64]:
    """Return the nearest numbers that are not negative and have a given sum (Duchi et al. 2008)."""
    ordered = np.sort(values)[::-1]
    shifts = (np.cumsum(ordered) - total) / np.arange(1, len(values) + 1)
    shift = shifts[np.flatnonzero(ordered > shifts)[-1]] if total else math.inf
    return np.maximum(values - shift, 0.0)


def _round_to_sum(values: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    whole = np.floor(values).astype(np.int64)
    rest = values - whole
    whole[np.argsort(-rest, kind="stable")[: total - int(whole.sum())]] += 1
    return whole
