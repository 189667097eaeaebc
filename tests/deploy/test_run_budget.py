"""What the use of an approval counts: each answer by the policy that it left under."""

from __future__ import annotations

from pathlib import Path

import pytest
from flwr.app import ConfigRecord, RecordDict

from medfl.clients.run_cases import list_members
from medfl.data.store.prepare import prepare
from medfl.deploy.disclosure_sum import sum_disclosure
from medfl.deploy.run_budget import StudyBudget, keep_study, list_budgets
from medfl.privacy.ledger import Ledger, ledger_folder
from medfl.privacy.questions import Item, Question
from medfl.privacy.release_terms import release_terms
from medfl.site import Site, read_site
from medfl.study import Study, read_study


@pytest.fixture
def study(nodule_study: Path) -> Study:
    return read_study(nodule_study)


@pytest.fixture
def site(nodule_hospitals: Path) -> Site:
    return read_site(nodule_hospitals / "hospital-1")


def with_scores(site: Site, scores: str) -> Site:
    return site.model_copy(update={"policy": site.policy.model_copy(update={"scores": scores})})


def budget(site: Site, study: Study) -> StudyBudget:
    keep_study(site, study)
    (found,) = list_budgets(site)
    return found


def test_what_was_told_does_not_become_less_when_the_policy_does(site: Site, study: Study) -> None:
    exact, silent = with_scores(site, "exact"), with_scores(site, "none")
    ledger, study_hash = Ledger(ledger_folder(site)), study.approved_hash()
    question = Question(Item("federated", "validation", 2), "run-1", "aa", 1)
    reserved = ledger.reserve(study_hash, question, study, release_terms(exact.policy))
    ledger.settle(reserved, RecordDict({"config": ConfigRecord({"a": 1})}))
    told, unchanged = budget(exact, study).told, budget(exact, study).bound
    after = budget(silent, study)
    assert told is not None
    assert after.told == told > 10
    assert after.bound is not None
    assert unchanged is not None
    assert told < after.bound < unchanged  # what is still to come tells less


def test_the_bound_of_a_run_is_that_which_its_approval_told(site: Site, study: Study) -> None:
    """Patients with several images of one label are one unit of a histogram, in a run as in the approval."""
    index = next(site.root.glob("*.csv"))
    head, *rows = index.read_text().splitlines()
    columns = head.split(",")
    patient, label = columns.index("patient"), columns.index("label")
    split = [row.split(",") for row in rows]
    for row in split[1:4]:
        row[patient], row[label] = split[0][patient], split[0][label]
    index.write_text("\n".join([head, *map(",".join, split)]) + "\n")
    Ledger(ledger_folder(site)).begin_run(study.approved_hash(), study.name, "run-1")
    before = budget(site, study).bound
    members = list_members(prepare(site, study))
    Ledger(ledger_folder(site)).choose_cases(study.approved_hash(), "run-1", lambda *_: members)
    assert budget(site, study).bound == before == sum_disclosure(site, study).information.total_bytes_of("scores")
