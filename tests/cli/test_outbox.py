"""`medfl site outbox`, as a data officer uses it: every number that left, and answers that wait for a person."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from flwr.app import ConfigRecord, MetricRecord, RecordDict
from typer.testing import CliRunner

from medfl.cli.app import app
from medfl.messages import records
from medfl.privacy.ledger import Ledger
from medfl.privacy.outbox import describe_answer, write_outgoing
from medfl.privacy.questions import Item, Question
from medfl.site import init_site
from medfl.study import Study
from medfl.testing.sites import make_study

STUDY: Study = make_study("classification")
OTHER: Study = make_study("segmentation")  # of other planners, who named their run alike
RUN = "run-1"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return init_site(tmp_path / "site", "hospital-a", ".").parent


def medfl(*words: object, answer: str = "") -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], input=answer)


def send(site: Path, item: Item, numbers: dict[str, Any], *, is_held: bool = False, study: Study = STUDY) -> Question:
    budget, study_hash = site / "budget", study.approved_hash()
    question = Question(item, RUN, f"{item}", 1)
    content = RecordDict({"metrics": MetricRecord(numbers), "site": ConfigRecord({"name": "hospital-a"})})
    if item.kind == "train":
        content[records.ARRAYS] = records.to_array_record({"w": np.ones(4, np.float32)})
    ledger = Ledger(budget)
    ledger.settle(ledger.reserve(study_hash, question, study), content, is_held=is_held)
    write_outgoing(budget, describe_answer("waits" if is_held else "left", study.name, study_hash, question, content))
    return question


def test_every_number_that_left_is_shown(site: Path) -> None:
    assert "Nothing has left" in medfl("site", "outbox", "--site", site).stdout
    histogram = [0] * 256
    histogram[130] = 12
    send(site, Item("", "join"), {"join.train-patients": 72, "join.test-patients": -10})
    numbers = {"train.loss": 0.512, "eval.positives.yes": histogram, "eval.hidden": 0}
    send(site, Item("federated", "train", 1), numbers)
    assert RUN in medfl("site", "outbox", "--site", site).stdout
    shown = medfl("site", "outbox", RUN, "--site", site).stdout
    for text in ("train federated round 1", "train.loss 0.512", "positives.yes: 130: 12", "join.test-patients <10", "norm 2"):
        assert text in shown
    left = json.loads(medfl("site", "outbox", RUN, "--site", site, "--json").stdout)["left"]
    assert left[1]["numbers"] == numbers


def test_why_only_a_code_left_is_shown_to_the_hospital(site: Path) -> None:
    question = Question(Item("federated", "train", 1), RUN, "aa", 1)
    entry = describe_answer(
        "refused", STUDY.name, STUDY.approved_hash(), question, code="NOT-ANSWERED", reason="[LOSS-NONFINITE] it diverged"
    )
    write_outgoing(site / "budget", entry)
    shown = medfl("site", "outbox", RUN, "--site", site).stdout
    assert "only a code left: NOT-ANSWERED" in shown
    assert "[LOSS-NONFINITE] it diverged" in shown


def test_an_answer_waits_until_a_person_lets_it_go(site: Path) -> None:
    send(site, Item("", "join"), {"join.train-patients": 72}, is_held=True)
    (held,) = Ledger(site / "budget").held()
    assert "Let it go: medfl site outbox --release N" in medfl("site", "outbox", "--site", site).stdout
    release = ("site", "outbox", "--site", site, "--release", held.number)
    assert medfl(*release, answer="n\n").exit_code == 1
    assert len(Ledger(site / "budget").held()) == 1
    assert medfl(*release, answer="y\n").exit_code == 0
    assert Ledger(site / "budget").held() == ()
    assert medfl(*release, "--yes").exit_code == 1


def test_all_that_waits_is_let_go_at_once(site: Path) -> None:
    assert "No answer waits" in medfl("site", "outbox", "--site", site, "--release-all", "--yes").stdout
    send(site, Item("", "join"), {"join.train-patients": 72}, is_held=True)
    send(site, Item("federated", "validation", 4), {"eval.hidden": 1}, is_held=True)
    other = medfl("site", "outbox", "run-2", "--site", site, "--release-all", "--yes")
    assert "No answer waits" in other.stdout
    assert medfl("site", "outbox", RUN, "--site", site, "--release-all", "--yes").exit_code == 0
    assert Ledger(site / "budget").held() == ()


def test_runs_of_two_studies_with_one_name_are_told_apart(site: Path) -> None:
    send(site, Item("", "join"), {"join.train-patients": 72})
    send(site, Item("", "join"), {"join.train-patients": 41}, study=OTHER)
    listed = medfl("site", "outbox", "--site", site).stdout
    assert STUDY.approved_hash()[:8] in listed
    assert OTHER.approved_hash()[:8] in listed
    shown = medfl("site", "outbox", RUN, "--site", site)
    assert shown.exit_code == 1
    assert f"{OTHER.name} {OTHER.approved_hash()[:8]}" in str(shown.exception)
    for study, count in ((STUDY, 72), (OTHER, 41)):
        shown = medfl("site", "outbox", RUN, "--site", site, "--study", study.approved_hash()[:8])
        assert [f"patients {n}" in shown.stdout for n in (72, 41)] == [n == count for n in (72, 41)]


def test_the_answers_of_another_study_are_not_let_go_with_a_run_of_the_same_name(site: Path) -> None:
    send(site, Item("", "join"), {"join.train-patients": 72})  # left, before the policy held answers back
    send(site, Item("", "join"), {"join.train-patients": 41}, is_held=True, study=OTHER)
    let_go = ("site", "outbox", RUN, "--site", site, "--release-all", "--yes")
    assert medfl(*let_go).exit_code == 1
    assert "No answer waits" in medfl(*let_go, "--study", STUDY.approved_hash()[:8]).stdout
    (held,) = Ledger(site / "budget").held()
    assert held.study_hash == OTHER.approved_hash()
    assert medfl(*let_go, "--study", OTHER.approved_hash()[:8]).exit_code == 0
    assert Ledger(site / "budget").held() == ()


def test_a_run_that_is_not_there_is_said(site: Path) -> None:
    done = medfl("site", "outbox", "run-9", "--site", site)
    assert done.exit_code == 1
