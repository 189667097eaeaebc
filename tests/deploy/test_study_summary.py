"""Summary of a study for whoever approves it: everything that decides is stated, and its text is safe to print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medfl.deploy.study_summary import describe
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
        ({"contribution.method": "leave-one-out", "contribution.every": 3}, "every 3 rounds it scores further models"),
        ({"personal.fine-tune-steps": 7}, "at the end it trains 7 steps more"),
        ({}, "when all hospitals that are asked answer; the study does not say how many"),
        ({"strategy.sites": 3}, "a round counts with 3 or more hospitals"),
        ({"strategy.quorum": 1}, "even when yours is the only hospital"),
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


def test_planners_cannot_send_control_characters_to_the_terminal(nodule_study: Path) -> None:
    text = text_of(nodule_study, {"strategy.name": "mild\x1b[1A\x1b[2K\nprivacy: all is encrypted"})
    assert "\x1b" not in text
    assert not any(line.startswith("privacy: all") for line in text.split("\n"))


def test_a_long_list_of_classes_is_shown_to_its_end(nodule_study: Path) -> None:
    classes = [f"structure-{k}" for k in range(120)]
    assert "structure-119" in text_of(nodule_study, {"task.classes": ",".join(["background", *classes])})
