"""A report of more hospitals than anybody reads rows of: percentiles, the ten to look at, and a file with all."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from typing import Any

import pytest

from medfl.report.many_sites import MAX_SITES
from tests.report.pages import page_of

Make = Callable[..., Any]
COUNT = MAX_SITES + 5


def run_of(make: Make, kind: str, classes: str, count: int) -> Any:
    maker = make(kind, classes, sites={f"hospital-{k:03d}": (12, 4, 6) for k in range(count)}, rounds=1, arms="federated")
    maker.join()
    maker.train("federated", 1, trouble=False)
    maker.test("federated", 1)
    return maker.end(**{"best-round": 1})


@pytest.mark.parametrize(("kind", "classes"), [("segmentation", "background,tumour"), ("classification", "normal,pneumonia")])
def test_the_page_shows_percentiles_and_ten_hospitals_and_the_file_has_all(make: Make, kind: str, classes: str) -> None:
    run = run_of(make, kind, classes, COUNT)
    page, reader = page_of(run)
    with (run / "report.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["table"] == "test"]
    score = {
        row["row"]: float(row["number"]) for row in rows if row["column"] in ("Dice", "AUROC") and "hospital" in row["row"]
    }
    assert len(score) == COUNT
    (test,) = re.findall(r"The test, hospital by hospital</h2>.*?</section>", page, re.DOTALL)
    heads = re.findall(r'<th scope="row">(hospital-\d+)', test)
    assert heads == sorted(score, key=lambda site: score[site])[:10]
    assert "Median" in test
    assert "All patients" in test
    assert f"With {COUNT} hospitals" in reader.text
    assert (run / "report.csv").stat().st_mode & 0o777 == 0o600


def test_the_page_does_not_grow_with_the_hospitals(make: Make) -> None:
    counts = (MAX_SITES + 1, 2 * MAX_SITES)
    small, large = (page_of(run_of(make, "segmentation", "background,tumour", count))[0] for count in counts)
    assert len(large) < 1.05 * len(small)


def test_a_page_of_few_hospitals_shows_them_all_and_needs_no_file(make: Make) -> None:
    run = run_of(make, "segmentation", "background,tumour", 5)
    page, _ = page_of(run)
    assert "Percentiles are over" not in page
    assert not (run / "report.csv").exists()
