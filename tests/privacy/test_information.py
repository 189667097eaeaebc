"""The sum of what a study can learn: by hand for a small study, and as a bound on what the rules of a site let out."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable

import numpy as np
import pytest

from medfl.errors.codes import load_codes
from medfl.messages.records import Metrics
from medfl.metrics.classification import classification_metrics
from medfl.metrics.segmentation import CaseScore, segmentation_metrics
from medfl.privacy.information import Information, bound_information
from medfl.privacy.outcomes import SplitSize, count_histograms, count_scores
from medfl.privacy.released_scores import release_scores
from medfl.site import Policy
from medfl.study import Study
from medfl.testing.sites import make_study

FEW = {"train": SplitSize(30, 30, 40), "validation": SplitSize(12, 12, 15), "test": SplitSize(20, 20, 20)}


def part(information: Information, kind: str, arm: str = "federated", subject: str = "scores") -> float:
    (found,) = [p for p in information.parts if (p.kind, p.arm, p.subject) == (kind, arm, subject)]
    return found.content.bits


@pytest.mark.parametrize(("width", "total", "k"), [(3, 7, 2), (4, 5, 1), (2, 9, 5), (3, 4, 5), (3, 0, 2)])
def test_histograms_are_counted_as_listing_them_all_does(width: int, total: int, k: int) -> None:
    every = itertools.product(range(total + 1), repeat=width)
    assert count_histograms(width, total, k) == sum(sum(h) == total and all(n == 0 or n >= k for n in h) for h in every)


def test_a_segmentation_of_four_rounds_is_added_up_as_by_hand() -> None:
    information = bound_information(make_study(), Policy(), FEW)
    loss, dice = math.log2(302), math.log2(122)  # 10 steps a patient, both ends, and hidden
    assert part(information, "train") == pytest.approx(4 * (1 + loss) + 3 * dice)
    assert part(information, "validation") == pytest.approx(1 + dice)
    tested = math.log2(202)
    assert part(information, "test") == pytest.approx(1 + 3 * tested + 2 * math.log2(22) + tested)
    assert part(information, "join", arm="") == pytest.approx(math.log2(5))
    assert part(information, "train", subject="times") == pytest.approx(4 * math.log2(43202))
    assert information.questions == 1 + 1 + 4 + 1 + 1  # joining, fingerprint, training, closing evaluation, test


def test_a_classification_tells_histograms_of_which_no_bin_holds_few_patients() -> None:
    scores = count_scores(make_study("classification"), Policy(), SplitSize(12, 12, 12), test=False)
    assert scores.bits == pytest.approx(math.log2(512 + 1))  # all twelve in one bin of 2 x 256, or hidden
    assert scores.numbers == 1


def test_what_the_policy_hides_of_too_few_patients_counts_nothing() -> None:
    hidden = {"validation": SplitSize(9, 9, 9), "test": SplitSize(0, 0, 0)}
    information = bound_information(make_study(), Policy(), hidden)
    assert (part(information, "validation"), part(information, "test")) == (1.0, 1.0)
    none = bound_information(make_study(), Policy(scores="none"), FEW)
    assert (part(none, "test"), part(none, "train")) == (1.0, 4.0)
    few_metrics = bound_information(make_study(), Policy(metrics=("train.patients",)), FEW)
    assert (part(few_metrics, "test"), part(few_metrics, "train")) == (1.0, 4.0)


def test_forty_rounds_of_two_classes_tell_at_most_200_bytes_in_a_run() -> None:
    sizes = {"train": SplitSize(168, 168, 168), "validation": SplitSize(24, 24, 24), "test": SplitSize(48, 48, 48)}
    study = make_study("classification", rounds=40)
    assert 100 < bound_information(study, Policy(), sizes).bytes_of("scores") <= 200


@pytest.mark.parametrize("patients", [10, 1000, 10**6])
def test_forty_rounds_of_one_structure_tell_at_most_200_bytes_of_any_number_of_patients(patients: int) -> None:
    sizes = dict.fromkeys(("train", "validation", "test"), SplitSize(patients, patients, patients))
    assert bound_information(make_study(rounds=40), Policy(), sizes).bytes_of("scores") <= 200


def test_more_questions_more_arms_and_exact_scores_tell_more() -> None:
    def told(policy: Policy | None = None, **tables: object) -> int:
        return bound_information(make_study(**tables), policy or Policy(), FEW).bytes_of("scores")

    usual = told()
    assert told(evaluation={"every": 2}) < usual < told(arms="federated,local")
    assert usual < told(contribution={"method": "leave-one-out"}) < told(contribution={"method": "shapley"})
    assert usual < told(Policy(scores="all")) < told(Policy(scores="exact", min_count=0))
    assert usual < told(strategy={"name": "ditto"})
    assert usual < told(strategy={"name": "qfedavg"})


def test_trained_models_are_counted_in_bytes_beside_it() -> None:
    information = bound_information(
        make_study(arms="federated,local"), Policy(), FEW, update_bytes={"federated": 100, "local": 1000}, runs=2
    )
    assert (information.updates, information.update_bytes, information.runs) == (8, 4 * 100 + 4 * 1000, 2)
    assert bound_information(make_study(), Policy(), FEW).update_bytes is None


def test_runs_that_only_join_tell_what_joining_tells() -> None:
    none, twenty = (bound_information(make_study(), Policy(), FEW, runs=3, joined_runs=n) for n in (0, 20))
    assert none.total("scores").bits == pytest.approx(3 * none.content("scores").bits)
    assert twenty.total("scores").bits - none.total("scores").bits == pytest.approx(20 * math.log2(5))
    joining = part(twenty, "join", arm="", subject="data")
    assert twenty.total("data").bits - none.total("data").bits == pytest.approx(20 * joining)
    assert twenty.total("times") == none.total("times")


def test_the_description_of_the_images_is_told_apart() -> None:
    plain, described = make_study("classification"), make_study()
    with_fingerprint = bound_information(described, Policy(), FEW).bytes_of("data")
    assert bound_information(plain, Policy(), FEW).bytes_of("data") < with_fingerprint
    ct = make_study(task={"kind": "segmentation", "dimension": 2, "modality": "CT", "classes": "background,organ"})
    assert bound_information(ct, Policy(), FEW).bytes_of("data") > 10_000 > with_fingerprint  # a histogram of grey values


def random_classification(draw: np.random.Generator, study: Study) -> Metrics:
    """Score twelve patients of one class, or of two that are few, as any model could."""
    scores = draw.random((12, 1)) ** draw.choice([0.2, 1.0, 40.0])
    labels = [int(draw.random() < 0.1) for _ in range(12)]
    names = [f"pat-{k}" for k in range(12)]
    return classification_metrics(names, labels, np.hstack([1 - scores, scores]), study.task.classes, draw.random() * 9)


def random_segmentation(draw: np.random.Generator, study: Study) -> Metrics:
    scores = [
        (f"pat-{k}", {"organ": CaseScore(draw.random(), 900 * draw.random(), draw.random(), *(draw.random(3) < 0.3))})
        for k in range(12)
    ]
    return segmentation_metrics(scores, study.task.foreground, draw.random() * 9)


@pytest.mark.parametrize(("kind", "score"), [("classification", random_classification), ("segmentation", random_segmentation)])
def test_a_site_never_gives_more_different_answers_than_are_counted(
    kind: str, score: Callable[[np.random.Generator, Study], Metrics]
) -> None:
    study, draw, size = make_study(kind), np.random.default_rng(1), SplitSize(12, 12, 12)
    answers = [release_scores(score(draw, study), study, Policy(), "validation") for _ in range(2000)]
    different = {json.dumps(answer, sort_keys=True) for answer in answers}
    sizes = 13 if kind == "classification" else 13**2  # of the classes, which are data and not a model's; they are told once
    told = count_scores(study, Policy(), size, test=False).bits
    assert 20 < len(different) <= 2**told * sizes


def test_without_rounding_there_would_be_more_answers_than_are_counted() -> None:
    study, draw = make_study(), np.random.default_rng(1)
    exact = Policy(scores="exact", min_count=0)
    answers = [release_scores(random_segmentation(draw, study), study, exact, "validation") for _ in range(2000)]
    different = {answer["eval.dice.organ"] for answer in answers}
    assert len(different) > 2 ** count_scores(study, Policy(), SplitSize(12, 12, 12), test=False).bits


@pytest.mark.parametrize(("kind", "counts"), [("join", 2), ("fingerprint", 1)])
def test_cases_that_were_left_out_are_counted_by_code_wherever_they_are_told(
    kind: str, counts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bits() -> float:
        return part(bound_information(make_study(), Policy(), FEW), kind, arm="", subject="data")

    with_codes, codes = bits(), {name: code for name, code in load_codes().items() if code.section == "Labels"}
    assert codes
    few = {name: code for name, code in load_codes().items() if name not in codes}
    monkeypatch.setattr("medfl.privacy.information.load_codes", lambda: few)
    assert with_codes - bits() >= counts * len(codes) * math.log2(42)  # cases that train and validate, at least
