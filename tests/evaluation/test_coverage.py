"""How often the intervals and tests of `medfl compare` are right, over federations drawn at random (docs/compare.md)."""

from __future__ import annotations

import numpy as np
import pytest

from medfl.evaluation.arm_runs import ArmRun
from medfl.evaluation.bootstrap import ClassifiedPatients, Floats, SegmentedPatients
from medfl.evaluation.strategy_comparison import summarize

pytestmark = pytest.mark.long

FEDERATIONS = 1000
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
@pytest.mark.parametrize(("draw", "truth"), [(draw_dice, 0.8), (draw_auroc, AUROC_OF_ONE_WIDTH)], ids=["dice", "auroc"])
def test_intervals_hold_the_truth_and_tests_keep_their_level(draw: object, truth: float, size: int) -> None:
    rng = np.random.default_rng(size)
    held, found = 0, 0
    for _ in range(FEDERATIONS):
        (one, _), (difference,) = summarize(draw(rng, size))  # type: ignore[operator]
        assert one.interval is not None
        assert difference.p_value is not None
        held += one.interval[0] <= truth <= one.interval[1]
        found += difference.p_value < 0.05
    told = f"{size} patients at each of {len(SITES)} hospitals"
    print(f"{told}: coverage {held / FEDERATIONS:.3f}, level {found / FEDERATIONS:.3f}")  # noqa: T201
    assert 0.93 <= held / FEDERATIONS <= 0.97
    assert 0.03 <= found / FEDERATIONS <= 0.07
