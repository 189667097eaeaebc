"""Summary of a study for whoever approves it: everything that decides is stated, and its text is safe to print."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from medfl.deploy.disclosure_sum import DisclosureSum
from medfl.deploy.study_summary import describe
from medfl.privacy.information import bound_information
from medfl.privacy.outcomes import SplitSize
from medfl.site import Policy
from medfl.study import read_study


def text_of(folder: Path, changes: dict[str, Any], policy: Policy | None = None) -> str:
    study = read_study(folder, changes)
    return "\n".join(f"{subject}: {what}" for subject, what in (describe(study, policy) if policy else describe(study)))


@pytest.mark.parametrize(
    ("change", "statement"),
    [
        ({"splits.validation": 0.2, "splits.test": 0.2}, "60% for training, 20% for validation, 20% for the test"),
        ({"strategy.name": "scaffold", "optimizer.name": "sgd"}, "the trained model, and a control variate each way"),
        ({"strategy.name": "qfedavg"}, "the loss before training"),
        ({"strategy.name": "gentle"}, "and what that algorithm adds"),
        ({"strategy.max-share": 0.4}, "no hospital counts for more than 40% of the weight of a round in which all answer"),
        ({"contribution.method": "leave-one-out", "contribution.every": 3}, "every 3 rounds it scores further models"),
        ({"personal.fine-tune-steps": 7}, "at the end it trains 7 steps more"),
        ({}, "when all hospitals that are asked answer; the study does not say how many"),
        ({"strategy.sites": 3}, "a round counts with 3 or more hospitals"),
        ({"strategy.quorum": 1}, "even when yours is the only hospital"),
        ({"start.file": "m.pt", "start.sha256": "1" * 64, "start.arrays": "2" * 64}, "nobody is kept apart"),
        ({"rounds": 1, "training.local-epochs": 1}, "1 round; in each, your machine trains 1 epoch on"),
    ],
)
def test_what_decides_is_stated(change: dict[str, Any], statement: str, nodule_study: Path) -> None:
    assert statement in text_of(nodule_study, change)


def test_the_site_s_own_rule_of_small_counts_is_stated(nodule_study: Path) -> None:
    assert "fewer than 25 patients do not leave" in text_of(nodule_study, {}, Policy(min_count=25))
    off = text_of(nodule_study, {}, Policy(min_count=0))
    assert "do not leave" not in off
    assert "down to one" in off


def test_the_fingerprint_is_mentioned_only_if_the_study_can_collect_it() -> None:
    studies = Path(__file__).parents[2] / "sample_configs"
    assert "when the planners ask" in text_of(studies / "hippocampus", {})
    assert "when the planners ask" not in text_of(studies / "chest-xray-view", {})


def test_what_becomes_of_the_chosen_model_is_stated(nodule_study: Path) -> None:
    kept = text_of(nodule_study, {})
    assert "at the end, the chosen model, with the results on your test patients" in kept
    assert "when you withdraw this approval, until you remove it" in kept
    assert "the other hospitals get the chosen model too, and may keep it" in kept
    off = text_of(nodule_study, {}, Policy(keep_models=False))
    assert "the chosen model is not kept for you" in off
    assert "the other hospitals get the chosen model too, and may keep it" in off
    assert "at the end, your own model, with" in text_of(nodule_study, {"strategy.name": "fedbn"})
    assert "at the end, the chosen model and your own model, with" in text_of(nodule_study, {"strategy.name": "ditto"})
    assert "chosen model" not in text_of(nodule_study, {"arms": "local"})


FEW = {"train": SplitSize(60, 60, 60), "validation": SplitSize(20, 20, 20), "test": SplitSize(20, 20, 20)}


def sum_of(folder: Path, changes: dict[str, Any], policy: Policy | None = None, runs: int = 3) -> str:
    study, policy = read_study(folder, changes), policy or Policy()
    sizes = dict.fromkeys(study.arms, 1000)
    disclosed = DisclosureSum(bound_information(study, policy, FEW, update_bytes=sizes, runs=runs), FEW)
    return "\n".join(f"{subject}: {what}" for subject, what in describe(study, policy, disclosed))


def test_that_the_whole_first_model_comes_once_is_stated_with_its_bytes(nodule_study: Path) -> None:
    study = read_study(nodule_study)
    information = bound_information(study, Policy(), FEW, update_bytes=dict.fromkeys(study.arms, 1000), runs=3)
    whole, none = (
        "\n".join(map(": ".join, describe(study, Policy(), DisclosureSum(information, FEW, "", n)))) for n in (5_000_000, 0)
    )
    assert "comes: once, as your site is asked to join, the whole first model, 5.0 MB; each round the part" in whole
    assert "whole first model" not in none


@pytest.mark.parametrize(
    ("change", "statement"),
    [
        ({}, "at most 5 questions in a run, each answered once"),
        ({}, "3 runs of the study, then no more"),
        ({}, "60 for training, 20 for validation and 20 for the test"),
        ({"rounds": 7}, "7 trained models in a run, 7.0 kB together"),
        ({"training.batch-size": 1}, "learns from 1 image at a time, about 60 steps a round, by Adam"),
        ({"training.local-steps": 9}, "9 steps a round"),
        ({"arms": "federated,local"}, "the model that your hospital trains alone goes to the other hospitals"),
        ({"contribution.method": "shapley"}, "a model that your hospital alone trained in a round goes to all hospitals"),
        ({"contribution.method": "leave-one-out"}, "with two hospitals, that is yours alone"),
        ({"strategy.name": "cyclic"}, "the next one gets it as yours left it"),
        ({"strategy.name": "gentle"}, "what it adds to an answer is not in these numbers"),
    ],
)
def test_what_a_study_can_learn_is_stated(change: dict[str, Any], statement: str, nodule_study: Path) -> None:
    assert statement in sum_of(nodule_study, change)


def test_the_sum_multiplies_by_the_runs(nodule_study: Path) -> None:
    told = r"at most (\d+) bytes in a run, (\d+) bytes in %s and 20 that only join \(a byte"
    once, twice = (re.search(told % runs, sum_of(nodule_study, {}, runs=n)) for n, runs in ((1, "1 run"), (2, "2 runs")))
    assert once
    assert twice
    assert once[1] == twice[1]
    assert 2 * int(once[1]) - 2 <= int(twice[2]) - 6 <= 2 * int(once[1])  # 20 codes of five: 46.4 bits
    assert int(twice[2]) - int(once[2]) in (int(once[1]) - 1, int(once[1]))


def test_runs_that_only_join_are_in_the_sum(nodule_study: Path) -> None:
    said = sum_of(nodule_study, {})
    assert "20 further runs may join and go no further" in said
    assert re.search(r"your data: at most \d+ bytes in a run, [\d.]+ kB in 3 runs and 20 that only join", said)
    information = bound_information(read_study(nodule_study, {}), Policy(), FEW)
    once, total = information.bytes_of("data"), information.total_bytes_of("data")
    assert 22 * once < total <= 23 * once  # without a fingerprint, joining is all that describes it


def test_what_the_policy_changes_of_it_is_stated(nodule_study: Path) -> None:
    assert "no scores: your policy keeps them here" in sum_of(nodule_study, {}, Policy(scores="none"))
    by_hand = sum_of(nodule_study, {"strategy.deadline": 7200.0}, Policy(release="by-hand"))
    assert "waits 2 h 0 min for the answers of a round, and Flower keeps a message for 12 hours" in by_hand
    assert "every other study waits with it" in by_hand
    assert "epsilon 2, delta 1e-05" in sum_of(nodule_study, {}, Policy(score_noise=(2.0, 1e-5)))


def test_planners_cannot_send_control_characters_to_the_terminal(nodule_study: Path) -> None:
    text = text_of(nodule_study, {"strategy.name": "mild\x1b[1A\x1b[2K\nprivacy: all is encrypted"})
    assert "\x1b" not in text
    assert not any(line.startswith("privacy: all") for line in text.split("\n"))


def test_a_long_list_of_classes_is_shown_to_its_end(nodule_study: Path) -> None:
    classes = [f"structure-{k}" for k in range(120)]
    assert "structure-119" in text_of(nodule_study, {"task.classes": ",".join(["background", *classes])})


@pytest.mark.parametrize("noise", [(), (2.0, 1e-5)])
def test_scores_of_few_patients_are_not_said_to_leave(noise: tuple[float, ...], nodule_study: Path) -> None:
    every = sum_of(nodule_study, {}, Policy(min_count=25, score_noise=noise))
    for split in ("validation", "the test"):
        assert f"with 20 patients for {split}, fewer than 25, no score of them will leave ('min-count')" in every
    assert "for training, fewer" not in every
    assert "leave with noise" not in every
    assert "site cannot join" in sum_of(nodule_study, {}, Policy(min_count=61, score_noise=noise))
    assert "will leave" not in sum_of(nodule_study, {}, Policy(min_count=20, score_noise=noise))
