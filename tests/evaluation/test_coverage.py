"""How often the intervals and tests of `medfl compare` are right, over federations drawn at random (docs/compare.md)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import special

from medfl.evaluation.arm_differences import compare_pairs
from medfl.evaluation.arm_runs import ArmRun
from medfl.evaluation.bootstrap import ClassifiedPatients, Floats, SegmentedPatients, confidence_interval
from medfl.evaluation.calibration import calibration_error, calibration_interval, fill_bins
from medfl.evaluation.scored_runs import score_runs
from medfl.evaluation.strategy_comparison import summarize

pytestmark = pytest.mark.long

Draw = Callable[[np.random.Generator, int], tuple[ArmRun, ArmRun]]
SITES = [f"hospital-{k}" for k in range(3)]


def arm(name: str, test: SegmentedPatients | ClassifiedPatients) -> ArmRun:
    return ArmRun(name, "", 1, 1, 1, 0, test)


def draw_dice(rng: np.random.Generator, size: int) -> tuple[ArmRun, ArmRun]:
    """Two models of a mean Dice of 0.8 each, skewed as Dice is, which find the same patients hard."""
    patients = tuple((site, f"pat-{k}") for site in SITES for k in range(size))
    case = rng.beta(8, 2, size=len(patients))
    both = [np.where(rng.uniform(size=case.shape) < 0.7, case, rng.beta(8, 2, size=case.shape))[:, None] for _ in range(2)]
    return arm("federated", SegmentedPatients(patients, both[0])), arm("local", SegmentedPatients(patients, both[1]))


def draw_auroc(rng: np.random.Generator, size: int) -> tuple[ArmRun, ArmRun]:
    """Two models of one AUROC, which is that of a normal distribution shifted by its width, in the mean over hospitals."""
    patients = tuple((site, f"pat-{k}") for site in SITES for k in range(size))
    truth = np.arange(len(patients)) % 2
    case = rng.normal(size=len(patients))

    def model() -> ClassifiedPatients:
        score: Floats = truth + (case + rng.normal(size=len(patients))) / np.sqrt(2)
        return ClassifiedPatients(patients, np.arange(len(patients)), truth, np.stack([-score, score], axis=1))

    return arm("federated", model()), arm("local", model())


AUROC_OF_ONE_WIDTH = 0.7602499389065233  # of the normal distribution at 1 / sqrt(2)


@pytest.mark.parametrize("size", [20, 60])
@pytest.mark.parametrize(
    ("draw", "truth", "federations"), [(draw_dice, 0.8, 2000), (draw_auroc, AUROC_OF_ONE_WIDTH, 1000)], ids=["dice", "auroc"]
)
def test_intervals_hold_the_truth_and_tests_keep_their_level(draw: Draw, truth: float, federations: int, size: int) -> None:
    rng = np.random.default_rng(size)
    held, between, found = 0, 0, 0
    for _ in range(federations):
        by_title, weights = score_runs(draw(rng, size))  # as `summarize`, without calibration
        (difference,) = compare_pairs(by_title, weights)
        interval = confidence_interval(by_title["federated"][1].scores[1:])
        assert interval is not None
        assert difference.interval is not None
        assert difference.p_value is not None
        held += interval[0] <= truth <= interval[1]
        between += difference.interval[0] <= 0 <= difference.interval[1]
        found += difference.p_value < 0.05
    shares = tell(f"{size} patients at each of {len(SITES)} hospitals", federations, held, between, found)
    assert all(0.93 <= share <= 0.97 for share in shares[:2])
    assert 0.03 <= shares[2] <= 0.07


@pytest.mark.parametrize("size", [20, 60])
def test_the_joint_interval_of_the_lowest_of_ten_alike_hospitals_holds_the_truth(size: int) -> None:
    rng = np.random.default_rng(size)
    patients = tuple((f"hospital-{k}", f"pat-{n}") for k in range(10) for n in range(size))
    held, naive = 0, 0
    for _ in range(400):
        ((summary,), _) = summarize([arm("local", SegmentedPatients(patients, rng.beta(8, 2, size=(len(patients), 1))))])
        lowest = summary.lowest_hospital
        assert lowest is not None
        assert lowest.interval is not None
        assert lowest.joint_interval is not None
        held += lowest.joint_interval[0] <= 0.8 <= lowest.joint_interval[1]
        naive += lowest.interval[0] <= 0.8 <= lowest.interval[1]
    assert tell(f"lowest of ten hospitals of {size} patients, joint and alone", 400, held, naive)[0] >= 0.95


@pytest.mark.parametrize("size", [60, 180])
@pytest.mark.parametrize("too_sure", [1.0, 1.3, 2.0, 4.0])
def test_the_interval_of_a_calibration_error_holds_the_truth(too_sure: float, size: int) -> None:
    rng = np.random.default_rng(size)

    def draw(count: int) -> Floats:
        """Predictions in bins, of a model whose log odds are too large by a factor."""
        odds = rng.normal(0, 1.5, size=count)
        positive = special.expit(too_sure * odds)
        truth = (rng.uniform(size=count) < special.expit(odds)).astype(np.int64)
        probabilities = np.stack([1 - positive, positive], axis=1)
        return fill_bins(ClassifiedPatients((("a", "1"),) * count, np.arange(count), truth, probabilities))

    truth, held = calibration_error(*draw(4_000_000)), 0
    for _ in range(500):
        values = draw(size)
        interval = calibration_interval(*values[:, values[0] > 0])
        assert interval is not None
        held += interval[0] - 0.001 <= truth <= interval[1]
    (share,) = tell(f"calibration error of {truth:.3f}, {size} patients", 500, held)
    assert 0.9 <= share <= 0.995


def tell(what: str, count: int, *found: int) -> list[float]:
    shares = [each / count for each in found]
    print(f"{what}: {', '.join(f'{share:.3f}' for share in shares)}")  # noqa: T201
    return shares
