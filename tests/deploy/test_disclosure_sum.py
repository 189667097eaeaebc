"""The size of a site's splits, which its approval tells the sum for: counted from the index, as they are when it trains."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfl.data.store.prepare import prepare
from medfl.deploy.disclosure_sum import count_sizes, sum_disclosure
from medfl.deploy.run_budget import find_runs
from medfl.privacy.ledger import Ledger, ledger_folder
from medfl.privacy.questions import Item, Question
from medfl.site import Site, read_site
from medfl.study import Study, read_study


@pytest.fixture
def study(nodule_study: Path) -> Study:
    return read_study(nodule_study)


@pytest.fixture
def site(nodule_hospitals: Path) -> Site:
    return read_site(nodule_hospitals / "hospital-1")


def test_patients_and_images_are_counted_as_training_finds_them(site: Site, study: Study) -> None:
    prepared = prepare(site, study)
    for split, size in count_sizes(site, study).items():
        assert size.patients == prepared.count_patients(split) > 0
        assert size.cases == len(prepared.get_split(split))


def test_an_external_hospital_has_test_patients_alone(site: Site, study: Study) -> None:
    evaluation = study.evaluation.model_copy(update={"external": (site.name,)})
    sizes = count_sizes(site, study.model_copy(update={"evaluation": evaluation}))
    everyone = sum(size.patients for size in count_sizes(site, study).values())
    assert [sizes[split].patients for split in ("train", "validation", "test")] == [0, 0, everyone]


def test_two_labels_of_one_patient_are_two_units_of_a_histogram(site: Site, study: Study) -> None:
    index = next(site.root.glob("*.csv"))
    head, *rows = index.read_text().splitlines()
    columns = head.split(",")
    other = {"clear": "nodule", "nodule": "clear"}
    patient, label = (columns.index(name) for name in ("patient", "label"))
    first, second = (row.split(",") for row in rows[:2])
    second[patient], second[label] = first[patient], other[first[label]]
    index.write_text("\n".join([head, ",".join(first), ",".join(second), *rows[2:]]) + "\n")
    sizes = count_sizes(site, study).values()
    assert sum(size.patients for size in sizes) == len({row.split(",")[patient] for row in index.read_text().splitlines()[1:]})
    assert sum(size.units for size in sizes) == sum(size.patients for size in sizes) + 1


def test_a_site_whose_data_cannot_be_read_gets_the_bound_of_many_patients(site: Site, study: Study) -> None:
    counted = sum_disclosure(site, study)
    next(site.root.glob("*.csv")).unlink()
    for picture in (site.root / "images").iterdir():
        picture.unlink()
    unknown = sum_disclosure(site, study)
    assert unknown.sizes is None
    assert unknown.problem.startswith("[")
    assert not counted.problem
    assert unknown.information.bytes_of("data") > counted.information.bytes_of("data")
    assert unknown.information.update_bytes == counted.information.update_bytes


def test_a_site_whose_data_comes_later_gets_the_bound_of_many_patients(site: Site, study: Study) -> None:
    index = next(site.root.glob("*.csv"))
    index.write_text(index.read_text().splitlines()[0] + "\n")
    assert sum_disclosure(site, study).sizes is None


def test_runs_are_those_of_the_ledger_unless_a_person_says_otherwise(site: Site, study: Study) -> None:
    assert find_runs(site, study) == (3, 0)
    assert find_runs(site, study, 1) == (1, 0)
    ledger = Ledger(ledger_folder(site))
    ledger.allow_runs(study.approved_hash(), study.name, 5)
    ledger.begin_run(study.approved_hash(), study.name, "only-joined")
    ledger.reserve(study.approved_hash(), Question(Item("federated", "train", 1), "first", "aa", 1), study)
    assert find_runs(site, study) == (5, 1)
    assert find_runs(site, study, 2) == (2, 1)
