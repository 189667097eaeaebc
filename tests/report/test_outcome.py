"""What a report says of a result: what was measured, over what, how exactly, and no verdict beyond that."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.metrics import as_personal, classification_metrics, derive, merge, personal_part
from medfl.privacy.suppression import suppress, suppress_all
from medfl.report import tables
from medfl.report.formatting import format_difference
from medfl.report.report_data import read_report_data
from medfl.report.tables import personal_table
from medfl.report.verdict import headlines, verdict_sentences
from tests.report.pages import page_of

Make = Callable[..., Any]
Whole = Callable[[Any], Path]


def test_the_outcome_says_what_was_measured_over_what_and_on_how_many(make: Make, whole_run: Whole) -> None:
    run = whole_run(make("segmentation", "background,tumour"))
    _, reader = page_of(run)
    got = read_report_data(run).comparison
    together, alone = f"{got.federated_on_others:.2f}", f"{got.local_on_others:.2f}"
    assert (
        f"the shared model reached a mean Dice of {together}, and the models that hospitals trained alone {alone}"
        in reader.text
    )
    assert f"({float(together) - float(alone):+.2f}".replace("(", "difference ") in reader.text
    assert "means over 4 hospitals, each scored on the patients of all others" in reader.text
    assert "measured on 70 test patients; without an interval it does not show which is better" in reader.text
    assert "Completed" in reader.text
    assert "round 11, scored once" in reader.text
    assert "lowest Dice" in reader.text


@pytest.mark.parametrize("skill", [0.4, 0.7, 0.9])
def test_no_verdict_is_drawn_from_point_estimates(make: Make, skill: float) -> None:
    maker = make("segmentation", "background,tumour")
    maker.join()
    maker.test("federated", 2, skill=skill)
    for site in maker.sites:
        maker.test("local", 2, site, skill=0.7)
    sentences = " ".join(verdict_sentences(read_report_data(maker.end())))
    assert "without an interval it does not show which is better" in sentences
    assert not re.search(r"\b(beats?|worse|does better|do better|best|worst|clear|leads?|wins?)\b", sentences)


def test_the_lowest_score_that_is_marked_is_the_lowest_that_is_shown(make: Make, whole_run: Whole) -> None:
    sites = {"big": (40, 6, 40), "few": (9, 2, 3), "mid": (20, 3, 12)}
    data = read_report_data(whole_run(make("classification", "normal,pneumonia", sites=sites)))
    table = tables.test_table(data)
    assert table is not None
    marked = [row.head for row in table.rows if row.mark]
    scores = {t.site: t.derived["auroc"] for t in data.site_tests}
    assert marked in ([min(scores, key=lambda site: scores[site])], [])
    assert bool(marked) == (data.comparison.federated_lowest is not None and len(data.comparison.federated_lowest.sites) == 1)


def test_an_auroc_is_told_with_the_bound_of_its_error_and_no_smaller_difference_is_told(make: Make) -> None:
    maker = make("classification", "no,yes", sites={"a": (40, 6, 20), "b": (40, 6, 20)}, rounds=1)
    labels, scores = np.arange(20) % 2, np.linspace(0.5, 0.52, 20)
    metrics = classification_metrics(
        [f"p{k}" for k in range(20)], labels, np.stack([1 - scores, scores], 1), ["no", "yes"], 0.5
    )
    maker.metrics = lambda *_, **__: metrics
    maker.join()
    maker.test("federated", 1)
    for site in maker.sites:
        maker.test("local", 1, site)
    run = maker.end()
    data = read_report_data(run)
    error = data.site_tests[0].errors["auroc"]
    page, reader = page_of(run)
    assert error == pytest.approx(0.115)  # 23 of the 100 pairs lie in one bin
    bound = "±0.115"
    assert re.search(rf"a 20 0\.\d+ {bound} 0\.\d+ ±0\.\d+", reader.text)
    assert f"{bound} from its bins" in reader.text
    assert "It is no confidence interval" in reader.text
    assert "lowest AUROC" not in page  # nobody knows which of the two is lower
    assert "a or b: too close to tell apart" in reader.text


def test_without_a_local_arm_there_is_no_comparison(make: Make) -> None:
    maker = make("segmentation", "background,tumour", arms="federated", rounds=2)
    maker.join()
    maker.train("federated", 2)
    maker.test("federated", 2)
    _, reader = page_of(maker.end())
    assert "Together or alone" not in reader.text
    assert (
        "Over 70 test patients of 4 hospitals together, none used for training, the shared model reached a Dice of"
        in reader.text
    )
    assert "Patients it was trained on 240" in reader.text
    assert "Examples" not in reader.text


def personal_run(
    make: Make, kind: str, classes: str, skills: dict[str, tuple[float, float]], hidden: str = "", **study: Any
) -> Path:
    """Write a run in which the shared and the personal model have these skills at each site."""
    maker = make(kind, classes, arms="federated", sites={site: (30, 5, 12 + k) for k, site in enumerate(skills)}, **study)
    maker.join()
    sites: dict[str, Any] = {}
    for site, (shared, own) in skills.items():
        tested = [maker.metrics(skill, maker.sites[site][2]) for skill in (shared, own)]
        shared_metrics, own_metrics = (suppress(m, 100 if site == hidden else 0) for m in tested)
        sites[site] = {"metrics": shared_metrics | as_personal(own_metrics)}
    merged, own = (merge(maker.study, [part(s["metrics"]) for s in sites.values()]) for part in (dict, personal_part))
    maker.append(
        {
            "event": "test",
            "arm": "federated",
            "model": {"round": 3},
            "sites": sites,
            "eval": merged,
            "personal": as_personal(own),
        }
    )
    return maker.end()


def test_the_shared_and_the_personal_models_stand_side_by_side(make: Make) -> None:
    run = personal_run(make, "segmentation", "background,tumour", {"a": (0.5, 0.8), "b": (0.9, 0.6), "c": (0.7, 0.7)})
    page, reader = page_of(run)
    data = read_report_data(run)
    pairs = zip(data.personal_tests, data.site_tests, strict=True)
    scores = [(own.derived["dice"], shared.derived["dice"]) for own, shared in pairs]
    shown = [round(own, 2) - round(shared, 2) for own, shared in scores]
    assert f"own patients: a (difference {format_difference(shown[0])}, 12 test patients), b (difference" in reader.text
    assert f"b (difference {format_difference(shown[1])}, 13 test patients) and c (difference" in reader.text
    assert "The shared model lacks the layers" not in page
    table = personal_table(data)
    assert table is not None
    assert [row.head for row in table.rows] == ["a", "b", "c", "All patients"]
    assert [cell.text for cell in table.rows[0].cells] == [
        "12",
        f"{data.site_tests[0].derived['dice']:.3f}",
        f"{data.personal_tests[0].derived['dice']:.3f}",
        format_difference(scores[0][0] - scores[0][1], 3),
    ]
    assert data.overall_personal_test is not None
    assert data.overall_personal_test.patients == 12 + 13 + 14


@pytest.mark.parametrize(("kind", "exact"), [("segmentation", True), ("classification", False)])
def test_a_range_of_differences_says_how_exact_they_are(make: Make, kind: str, exact: bool) -> None:
    run = personal_run(make, kind, "no,yes", dict.fromkeys("abcd", (0.6, 0.65)))
    (sentence,) = (s for s in verdict_sentences(read_report_data(run)) if s.startswith("Personal models minus"))
    assert "at 4 hospitals (54 test patients" in sentence
    assert bool(re.search(r", each up to ±0\.\d\d from its bins\)", sentence)) is not exact


def test_the_report_says_that_the_shared_model_lacks_local_layers(make: Make) -> None:
    skills = dict.fromkeys("abcde", (0.4, 0.8))
    run = personal_run(make, "segmentation", "background,tumour", skills, strategy={"name": "fedbn"})
    _, reader = page_of(run)
    assert re.search(r"own patients: \+0\.\d\d to \+0\.\d\d at 5 hospitals \(70 test patients\)", reader.text)
    assert "it is scored with untrained ones instead, as a hospital that joins now would get it" in reader.text
    assert "joins the shared layers to those that stay there (norm)" in reader.text


def test_a_hospital_that_hides_its_scores_hides_them_of_both_models(make: Make) -> None:
    run = personal_run(make, "classification", "no,yes", {"a": (0.6, 0.9), "b": (0.6, 0.9)}, hidden="b")
    table = personal_table(read_report_data(run))
    assert table is not None
    assert [row.head for row in table.rows] == ["a", "b"]
    assert [cell.text for cell in table.rows[1].cells] == ["hidden", "hidden", "hidden", "n/a"]


def test_a_run_without_personal_models_does_not_mention_them(make: Make, whole_run: Whole) -> None:
    _, reader = page_of(whole_run(make("segmentation", "background,tumour")))
    assert "personal" not in reader.text.split("Every setting of the study")[0]


@pytest.mark.parametrize(("largest", "is_named"), [(112, False), (300, True)])
def test_a_hospital_that_outweighs_all_others_is_named(make: Make, whole_run: Whole, largest: int, *, is_named: bool) -> None:
    """Its size is what it told itself: who reads the result must know whose model it mostly is."""
    sites = {"harbour-clinic": (38, 6, 11), "north-general": (71, 10, 21), "st-anna": (19, 3, 6)}
    run = whole_run(make("segmentation", "background,tumour", sites=sites | {"uni-hospital": (largest, 16, 32)}))
    sentences = " ".join(verdict_sentences(read_report_data(run)))
    share = largest / (128 + largest)
    assert (f"uni-hospital held {100 * share:.0f} % of the weight in round 12" in sentences) is is_named
    _, reader = page_of(run)
    assert f"{100 * share:.0f} %, uni-hospital" in reader.text


def test_of_two_hospitals_the_larger_one_is_not_named(make: Make, whole_run: Whole) -> None:
    run = whole_run(make("segmentation", "background,tumour", sites={"large": (300, 6, 11), "small": (71, 10, 21)}))
    assert "of the weight" not in " ".join(verdict_sentences(read_report_data(run)))


def hide(maker: Any, *names: str) -> None:
    """Let a test of the shared model come in which some hospitals hide all their scores."""
    answers = {}
    for name, (_, _, patients) in maker.sites.items():
        metrics = maker.metrics(0.8, patients)
        told = suppress_all(metrics) if name in names else metrics
        answers[name] = {"metrics": told, "derived": derive(maker.study, told)}
    merged = merge(maker.study, [answer["metrics"] for answer in answers.values()])
    event = {"event": "test", "arm": "federated", "model": {"round": 1}, "sites": answers}
    maker.append(event | {"eval": merged, "derived": derive(maker.study, merged)})


def test_hidden_scores_are_no_part_of_what_is_said_of_all(make: Make) -> None:
    """The headline said that one hospital's score was that of the patients of three, and its lowest."""
    sites = {"a": (40, 6, 30), "b": (30, 5, 9), "c": (30, 5, 9)}
    maker = make("segmentation", "background,tumour", sites=sites, arms="federated")
    maker.join()
    hide(maker, "b", "c")
    data = read_report_data(maker.end())
    first, second, _ = headlines(data)
    assert "30 test patients of 1 hospital (2 other hospitals hide their scores)" in first.note
    assert not second.label.startswith("Lowest")
    table = tables.test_table(data)
    assert table is not None
    assert [row.head for row in table.rows] == ["a", "b", "c", "All whose scores are told"]
    assert not any(row.mark for row in table.rows)


def test_a_score_that_may_be_any_is_not_known(make: Make) -> None:
    """Few patients are told in so few bins that an AUROC of 1 means nothing."""
    maker = make("classification", "normal,pneumonia", sites={"a": (40, 6, 30), "b": (30, 5, 30)}, arms="federated")
    maker.join()
    hide(maker)
    data = read_report_data(maker.end())
    assert data.overall_test is not None
    coarse = dataclasses.replace(data, overall_test=dataclasses.replace(data.overall_test, errors={"auroc": 1.0}))
    assert headlines(data)[0].value != "not known"
    assert headlines(coarse)[0].value == "not known"
    assert "reached an AUROC" not in " ".join(verdict_sentences(coarse))


def test_a_hospital_that_joined_and_never_trained_gave_no_patients(make: Make) -> None:
    """It was revoked before the first round."""
    maker = make(
        "segmentation", "background,tumour", sites={"a": (40, 6, 3), "b": (30, 5, 3), "c": (49, 5, 3)}, arms="federated"
    )
    maker.join()
    ok = {"status": "ok", "reason": "", "weight": 3, "metrics": {}, "used": 3, "excluded": {}}
    event = {"event": "round", "arm": "federated", "round": 1, "sites": {"a": ok, "b": ok}, "seconds": 3, "train": {}}
    maker.append(event)
    third = headlines(read_report_data(maker.end()))[2]
    assert (third.label, third.value, third.note) == ("Patients it was trained on", "70", "at 2 hospitals")
