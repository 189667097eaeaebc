"""How many different answers a site can give, in bits: the most that an answer can tell, whatever model it was asked about.

An answer of 1024 possible ones tells 10 bits, if the asker could make each of them mean something else. Nothing here looks at
data: the counts depend on how many patients there are, on the rounding of `medfl.privacy.score_rounding`, and on the rule for
small counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from medfl.metrics.classification import CALIBRATION_BINS
from medfl.metrics.curves import BINS
from medfl.metrics.merging import empty_metrics
from medfl.privacy.policy_checks import may_leave
from medfl.privacy.score_rounding import count_values
from medfl.site import Policy
from medfl.study import Study

MOST_PATIENTS = 1000  # of a split, where nobody counted them
FLOAT_BITS = 64.0


@dataclass(frozen=True)
class SplitSize:
    """Size of one split of a site.

    Parameters
    ----------
    patients : int
        Patients.
    units : int
        Classification: pairs of a patient and a label of theirs, which are what histograms count.
    cases : int
        Images.
    """

    patients: int = MOST_PATIENTS
    units: int = MOST_PATIENTS
    cases: int = MOST_PATIENTS


@dataclass(frozen=True)
class Content:
    """Most that something can tell.

    Parameters
    ----------
    numbers : int
        Numbers that can differ from zero.
    bits : float
        Logarithm, to the base of 2, of how many different ones there can be.
    """

    numbers: int = 0
    bits: float = 0.0

    def __add__(self, other: Content) -> Content:
        return Content(self.numbers + other.numbers, self.bits + other.bits)

    def __mul__(self, times: int) -> Content:
        return Content(self.numbers * times, self.bits * times)


def count_mean(patients: int, policy: Policy) -> Content:
    """Return what a mean over patients of a score can tell; hidden is one value more."""
    if policy.scores == "exact":
        return Content(1, FLOAT_BITS)
    return Content(1, math.log2(count_values(patients) + 1))


def count_count(most: int) -> Content:
    """Return what a count of 0 to `most` can tell; hidden is one value more."""
    return Content(1, math.log2(most + 2))


def count_histogram(width: int, total: int, k: int) -> Content:
    """Return what a histogram can tell of which every bin is empty or holds `k` or more; hidden is one value more.

    Parameters
    ----------
    width : int
        Number of bins.
    total : int
        Sum of the bins.
    k : int
        Smallest count that may leave; 0 lets out every one.
    """
    return Content(min(width, total // max(k, 1)), _log2(1 + count_histograms(width, total, max(k, 1))))


@lru_cache(maxsize=256)
def count_histograms(width: int, total: int, k: int) -> int:
    """Return how many histograms have this width and sum, and `k` or more in every bin that is not empty.

    Examples
    --------
    Two bins and three things, of which two must lie together: (3, 0) and (0, 3), but not (2, 1).

    >>> count_histograms(2, 3, 2), count_histograms(2, 3, 1)
    (2, 4)
    """
    if not total:
        return 1
    bins = range(1, min(width, total // k) + 1)
    return sum(math.comb(width, n) * math.comb(total - n * (k - 1) - 1, n - 1) for n in bins)


def count_scores(study: Study, policy: Policy, size: SplitSize, *, test: bool) -> Content:
    """Return what the scores of one answer can tell.

    Parameters
    ----------
    study : Study
        Gives the task and its classes.
    policy : Policy
        Of the site: what it hides and rounds.
    size : SplitSize
        Patients who are scored.
    test : bool
        Whether it is the test, in which all scores leave; in a round only what the server compares models by.
    """
    is_hidden = policy.scores == "none" or not all(may_leave(policy, key) for key in empty_metrics(study))
    if is_hidden or size.patients < max(policy.min_count, 1):
        return Content()
    everything = test or policy.scores != "headline"
    if study.task.kind == "segmentation":
        scores = _count_segmentation(study, policy, size, test=test, everything=everything)
    else:
        scores = _count_classification(study, policy, size, everything=everything)
    return scores + count_mean(size.patients, policy) if everything else scores  # the loss


def count_sizes(study: Study, size: SplitSize) -> Content:
    """Return what the numbers of patients behind the scores of a split can tell; they are the same in every answer."""
    each = 2 if study.task.kind == "segmentation" else 1
    return count_count(size.patients) * 2 + count_count(max(size.units, size.patients)) * (each * len(study.task.foreground))


def _count_segmentation(study: Study, policy: Policy, size: SplitSize, *, test: bool, everything: bool) -> Content:
    means = 1
    if everything:
        measured = study.evaluation.surface
        means = 3 if measured == "always" or (test and measured == "test") else 1
    by_class = count_mean(size.patients, policy) * means
    if everything:
        by_class += count_count(size.patients) * 2  # missed, and false positives
    return by_class * len(study.task.foreground)


def _count_classification(study: Study, policy: Policy, size: SplitSize, *, everything: bool) -> Content:
    classes, k, units = len(study.task.classes), policy.min_count, size.units
    # positives and negatives of a class, as one histogram; of two classes, one is the mirror image of the other
    scores = count_histogram(2 * BINS, units, k) * (1 if classes == 2 else classes)
    if everything:
        scores += count_histogram(classes**2, units, k)  # the confusion matrix
        calibration = count_histogram(2 * CALIBRATION_BINS, units, k)  # right and wrong ones by confidence
        filled = min(CALIBRATION_BINS, units // max(k, 1))
        scores += calibration + count_mean(units, policy) * filled
    return scores


def _log2(count: int) -> float:
    """Return a logarithm that is not too small, also of a count that no float can hold."""
    shift = max(0, count.bit_length() - 60)
    return shift + math.log2((count >> shift) + (1 if shift else 0))
