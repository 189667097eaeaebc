"""Noise on scores: as large as is promised, the same for the same question, and never on what it cannot protect."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from medfl.messages.records import Metrics
from medfl.metrics import CaseScore, check, classification_metrics, headline, segmentation_metrics
from medfl.privacy.policy_checks import find_violations
from medfl.privacy.released_scores import release_scores
from medfl.privacy.score_noise import ScoreNoise, build_score_noise, count_scored, sensitivity, to_concentrated
from medfl.site import Policy, Site, ensure_secret
from medfl.study import Study
from medfl.testing.sites import make_study

MASKS, CLASSES = make_study("segmentation"), make_study("classification")


def masks(patients: int = 200, dice: float = 0.7) -> Metrics:
    case = {"organ": CaseScore(dice, 3.0, 0.8, missed=False, false_positive=False, present=True)}
    return segmentation_metrics([(f"pat-{k}", case) for k in range(patients)], ["organ"], 0.5)


def classes(patients: int = 400) -> Metrics:
    draw = np.random.default_rng(3)
    labels = [k % 2 for k in range(patients)]
    p = np.clip(draw.normal(np.array(labels) * 0.4 + 0.3, 0.15), 0.01, 0.99)
    people = [f"pat-{k}" for k in range(patients)]
    return classification_metrics(people, labels, np.stack([1 - p, p], 1), CLASSES.task.classes, 0.5)


def site(folder: Path, name: str = "a") -> Site:
    (folder / name).mkdir(exist_ok=True)
    ensure_secret(folder / name / "site.secret")
    return Site(name=name, policy=Policy(score_noise=(8.0, 1e-5)), folder=folder / name)


def noise_of(study: Study, site: Site, question: str = "q") -> ScoreNoise:
    noise = build_score_noise(study, site, question)
    assert noise is not None
    return noise


def test_the_spread_is_what_zero_concentrated_privacy_asks_for(tmp_path: Path) -> None:
    # 4 rounds, scored every round: three trained models and the last one in each of 3 runs, and a test
    assert count_scored(MASKS) == 3 + 1 + 1
    rho = to_concentrated(8.0, 1e-5)
    assert rho + 2 * math.sqrt(rho * math.log(1e5)) == pytest.approx(8.0)
    assert noise_of(MASKS, site(tmp_path)).scale == pytest.approx(math.sqrt(3 * 5 / (2 * rho)))
    assert noise_of(CLASSES, site(tmp_path)).scale == pytest.approx(math.sqrt(3 * 5 / (2 * rho)))


def test_the_noise_of_a_mean_has_that_spread(tmp_path: Path) -> None:
    alone = masks() | {"eval.loss-hidden": 1, "eval.surface-patients": 0}
    drawn = [noise_of(MASKS, site(tmp_path), f"q{k}").add_to_means(MASKS, alone)["eval.dice.organ"] for k in range(2000)]
    sigma = noise_of(MASKS, site(tmp_path)).scale / 200  # one mean over 200 patients, of a range of 1
    assert np.std(np.array(drawn) - 0.7) == pytest.approx(sigma, rel=0.1)
    assert np.mean(drawn) == pytest.approx(0.7, abs=sigma / 10)


def test_several_numbers_of_one_answer_share_its_budget() -> None:
    assert sensitivity(MASKS, masks()) == pytest.approx(2.0)  # loss, Dice, HD95, surface Dice
    assert sensitivity(CLASSES, classes()) == pytest.approx(math.sqrt(1 + 2))  # loss, and one bin to another
    twice = classification_metrics(["a", "a", "b"], [0, 1, 0], np.full((3, 2), 0.5), CLASSES.task.classes, 0.5)
    assert sensitivity(CLASSES, twice) >= math.sqrt(1 + 2 * 2)  # who has two labels is in both histograms


@pytest.mark.parametrize(("study", "scores"), [(MASKS, masks()), (CLASSES, classes())], ids=["masks", "classes"])
def test_asking_again_gives_the_same_noise_and_another_question_another(study: Study, scores: Metrics, tmp_path: Path) -> None:
    def ask(question: str, where: Site) -> Metrics:
        return release_scores(scores, study, where.policy, "validation", noise_of(study, where, question))

    here, there = site(tmp_path), site(tmp_path, "b")
    assert ask("one", here) == ask("one", here)
    # several of each: two scores of one step are equal now and then by chance
    assert any(ask("one", here) != ask(f"other {n}", here) for n in range(8))
    assert any(ask(f"question {n}", here) != ask(f"question {n}", there) for n in range(8))
    check(study, ask("one", here))
    assert 0 <= headline(study, ask("one", here)) <= 1


def test_histograms_keep_their_sums_and_nearly_their_area(tmp_path: Path) -> None:
    scores = classes(8000)
    here = site(tmp_path)
    for question in "abc":
        released = release_scores(scores, CLASSES, here.policy, "test", noise_of(CLASSES, here, question))
        for key in ("eval.positives.yes", "eval.negatives.yes"):
            assert sum(released[key]) == sum(scores[key]) == 4000  # type: ignore[arg-type]
        assert headline(CLASSES, released) == pytest.approx(headline(CLASSES, scores), abs=0.03)


def test_what_noise_does_not_protect_stays_at_home(tmp_path: Path) -> None:
    here = site(tmp_path)
    training: Metrics = {"train.patients": 300, "train.loss": 0.25, "train.extra": 3}
    released = release_scores(training | masks(), MASKS, here.policy, "test", noise_of(MASKS, here))
    assert math.isnan(released["train.loss"])  # type: ignore[arg-type]
    assert (released["train.patients"], released["train.extra"]) == (300, 0)
    assert (released["eval.missed-hidden.organ"], released["eval.false-positive-hidden.organ"]) == (1, 1)
    own = release_scores(masks(), MASKS, here.policy, "test", noise_of(MASKS, here), private_model=True)
    assert (own["eval.hidden"], own["eval.dice.organ"]) == (1, 0.0)
    labels = release_scores(classes(), CLASSES, here.policy, "test", noise_of(CLASSES, here))
    assert (labels["eval.confusion-hidden"], labels["eval.calibration-hidden"]) == (1, 1)


@pytest.mark.parametrize("policy", [Policy(scores="none"), Policy(score_noise=(2.0, 1e-5))], ids=["none", "noise"])
def test_a_strategy_that_weighs_by_losses_is_refused_where_no_loss_leaves(policy: Policy) -> None:
    study = make_study(strategy={"name": "fedcostwavg"})
    assert [code for code, _ in find_violations(study, policy)] == ["POLICY-METRICS"]
    assert not list(find_violations(make_study(), policy))
    assert not list(find_violations(study, Policy()))


def test_other_data_get_other_noise_for_the_same_question(tmp_path: Path) -> None:
    """Or the difference of two hospitals' answers, or of one's before and after a change, would be free of noise."""
    noise = noise_of(MASKS, site(tmp_path), "one")
    drawn = [
        noise.add_to_means(MASKS, scores)["eval.dice.organ"] - scores["eval.dice.organ"]  # type: ignore[operator]
        for scores in (masks(dice=0.7), masks(dice=0.6))
    ]
    assert abs(drawn[0] - drawn[1]) > 1e-9
