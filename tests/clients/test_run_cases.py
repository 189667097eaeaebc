"""A run works on the patients with whom it began, and no two runs differ by a few of them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from flwr.app import MessageType

from medfl.clients.run_cases import cases_of_run, choose_described
from medfl.data.cases import Case, Split
from medfl.data.findings import Finding
from medfl.data.store.prepared_data import PreparedCase, PreparedData
from medfl.errors import PolicyError, safe_sentence
from medfl.messages import records
from medfl.privacy.ledger import Ledger
from medfl.site import Policy, Site, ensure_secret
from medfl.testing.sites import make_study
from tests.clients.real_node import Node

STUDY, OTHER = make_study(), make_study(seed=77)
NORTH_WARNING = Finding.warning("LBL-UNLABELLED", "1 image is set aside.", "Nothing to do.")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "budget")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    ensure_secret(tmp_path / "site.secret")
    return Site(name="north", folder=tmp_path)


@pytest.fixture
def adjusting(site: Site) -> Site:
    return site.model_copy(update={"policy": Policy(changed_cases="adjust")})


def prepare(numbers: range, test: int, validation: int, gone: tuple[int, ...] = ()) -> PreparedData:
    """Return a site of one image a patient: the first ones test, the next validate."""

    def make(place: int, number: int) -> PreparedCase:
        split: Split = "test" if place < test else "validation" if place < test + validation else "train"
        case = Case.without_files(f"case-{number}", f"pat-{number}", split)
        image = np.zeros((1, 2, 2), np.float32)
        return PreparedCase(case, image, number % 2, (1.0, 1.0), annotated=(1,), content=(str(number),))

    cases = tuple(make(place, number) for place, number in enumerate(numbers) if number not in gone)
    return PreparedData("north", cases, (NORTH_WARNING,), patient_ids=True)


def splits_of(prepared: PreparedData) -> dict[str, str]:
    return {case.name: case.split for case in prepared.cases}


def test_a_run_keeps_its_patients_and_their_splits_whatever_is_added(site: Site, ledger: Ledger) -> None:
    first = prepare(range(100), 20, 20)
    begun = cases_of_run(STUDY, site, "r1", ledger, first)
    assert begun.cases == first.cases
    later = cases_of_run(STUDY, site, "r1", ledger, prepare(range(140), 30, 25))
    assert splits_of(later) == splits_of(first)
    assert [case.name for case in later.cases] == [case.name for case in first.cases]
    assert (later.findings, later.annotated, later.digest) == (first.findings, first.annotated, first.digest)
    assert splits_of(cases_of_run(STUDY, site, "r2", Ledger(site.folder / "budget"), first)) == splits_of(first)


def test_two_runs_that_differ_by_few_are_refused_even_before_the_first_one_told_anything(site: Site, ledger: Ledger) -> None:
    cases_of_run(STUDY, site, "r1", ledger, prepare(range(240), 48, 24))
    with pytest.raises(PolicyError, match=r"test of this run and test of the run 'r1'.*2 patients") as refused:
        cases_of_run(OTHER, site, "r1", ledger, prepare(range(240), 50, 24))  # test shares of 0.2 and 0.2084
    assert refused.value.code == "CASES-CHANGED"
    assert "adjust" in refused.value.fix
    assert ledger.fixed_cases(OTHER.approved_hash(), "r1") is None
    off = site.model_copy(update={"policy": Policy(min_count=0)})
    assert len(cases_of_run(OTHER, off, "r1", ledger, prepare(range(240), 50, 24)).get_split("test")) == 50


def test_a_site_that_adjusts_takes_part_with_the_earlier_splits(
    adjusting: Site, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    first = cases_of_run(STUDY, adjusting, "r1", ledger, prepare(range(240), 48, 24))
    second = cases_of_run(OTHER, adjusting, "r1", ledger, prepare(range(240), 50, 24))
    assert splits_of(second) == splits_of(first)
    assert "2 patients" in caplog.text
    assert "pat-" not in caplog.text


def test_three_seeds_with_one_split_seed_are_three_runs_on_the_same_patients(site: Site, ledger: Ledger) -> None:
    same = prepare(range(100), 20, 20)
    for seed in (1, 2, 3):
        study = make_study(seed=seed, split_seed=1)
        assert cases_of_run(study, site, "run", ledger, same).cases == same.cases


def test_a_withdrawn_patient_ends_a_run_of_a_site_that_refuses_until_the_case_is_back(site: Site, ledger: Ledger) -> None:
    whole, without = prepare(range(100), 20, 20), prepare(range(100), 20, 20, gone=(5,))
    cases_of_run(STUDY, site, "r1", ledger, whole)
    with pytest.raises(PolicyError, match="cases of 1 patient with whom this run began are gone") as refused:
        cases_of_run(STUDY, site, "r1", ledger, without)
    assert "mounted" in refused.value.fix
    assert cases_of_run(STUDY, site, "r1", ledger, whole).cases == whole.cases


def test_a_withdrawn_patient_costs_a_site_that_adjusts_k_patients_in_this_run_and_the_next(
    adjusting: Site, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    whole, without = prepare(range(100), 20, 20), prepare(range(100), 20, 20, gone=(5, 50))
    cases_of_run(STUDY, adjusting, "r1", ledger, whole)
    rest = cases_of_run(STUDY, adjusting, "r1", ledger, without)
    assert {name: len(rest.get_split(name)) for name in ("train", "validation", "test")} == {
        "train": 50,
        "validation": 20,
        "test": 10,
    }
    assert "case-5" not in splits_of(rest)
    assert "18 patients are left out as well" in caplog.text
    assert splits_of(cases_of_run(STUDY, adjusting, "r1", ledger, whole)) == splits_of(rest)  # for the rest of the run
    assert splits_of(cases_of_run(STUDY, adjusting, "r2", ledger, without)) == splits_of(rest)
    assert splits_of(cases_of_run(OTHER, adjusting, "r1", ledger, without)) == splits_of(rest)


def test_a_site_that_would_have_too_few_left_takes_no_part(adjusting: Site, ledger: Ledger) -> None:
    cases_of_run(STUDY, adjusting, "r1", ledger, prepare(range(14), 0, 0))
    with pytest.raises(PolicyError, match="Too few would be left"):
        cases_of_run(STUDY, adjusting, "r2", ledger, prepare(range(14), 0, 0, gone=(3,)))


def test_a_fingerprint_describes_the_same_patients_again(site: Site, ledger: Ledger) -> None:
    cases = [case.case for case in prepare(range(40), 0, 0).cases]
    assert choose_described(STUDY, site, "plan-1", ledger, cases) == {case.name for case in cases}
    cases_of_run(STUDY, site, "r1", ledger, prepare(range(42), 0, 0))  # two could not be measured: another function of them
    with pytest.raises(PolicyError, match="fingerprint of this run"):
        choose_described(OTHER, site, "plan-2", ledger, cases[:-1])


# Through the node, as a server sees it


def test_a_server_sees_one_code_when_a_patient_is_withdrawn_from_a_run(nodule_study: Path, nodule_hospitals: Path) -> None:
    folder = nodule_hospitals / "hospital-1"
    node = Node.of_study(folder / "site.toml", nodule_study)
    node.edit_site("min-count = 0", "min-count = 5")
    joined, index_file = node.numbers(records.JOIN), folder / "data" / "index.csv"
    index = index_file.read_text()
    index_file.write_text("".join(index.splitlines(keepends=True)[:-1]))
    assert node.reason(MessageType.TRAIN).startswith(safe_sentence("NOT-ANSWERED"))
    index_file.write_text(index)
    assert node.numbers(MessageType.TRAIN)[records.TRAIN_PATIENTS] == joined["join.train-patients"]


@pytest.mark.parametrize("rule", ["refuse", "move"])
def test_nobody_is_tested_whom_the_start_was_trained_on_here(rule: str, site: Site, ledger: Ledger) -> None:
    cases_of_run(STUDY, site, "r1", ledger, prepare(range(100), 20, 20))  # trains on 40 to 99
    start = {"file": "m.pt", "sha256": "1" * 64, "arrays": "2" * 64, "studies": STUDY.approved_hash(), "patients": rule}
    later, now = make_study(start=start), prepare(range(99, -1, -1), 70, 0)  # tests 30 to 99
    if rule == "refuse":
        with pytest.raises(PolicyError, match="60 patients would be tested") as caught:
            cases_of_run(later, site, "r2", ledger, now)
        assert caught.value.code == "START-PATIENTS"
        return
    splits = splits_of(cases_of_run(later, site, "r2", ledger, now))
    assert {name for name, split in splits.items() if split == "test"} == {f"case-{k}" for k in range(30, 40)}
    assert len(splits) == 100
    assert splits_of(cases_of_run(later, site, "r2", ledger, now)) == splits
