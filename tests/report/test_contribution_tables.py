"""Contribution of each hospital, in the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medfl.report import contribution_tables, write_report
from medfl.report.report_data import read_report_data

Make = Callable[..., Any]


def write_run(make: Make, method: str, rounds: list[dict[str, Any]], **more: Any) -> Path:
    maker = make("segmentation", "background,tumour", sites={"a": (9, 8, 7), "b": (9, 8, 7)})
    maker.join()
    for number, sites in enumerate(rounds, start=1):
        about = {"event": "contribution", "arm": "federated", "round": number, "method": method, "sites": sites}
        maker.append(about | {"models": 0, "bytes-down": 0, "seconds": 0.5} | more)
    run: Path = maker.end()
    return run


def cells(run: Path) -> dict[str, list[str]]:
    table = contribution_tables.contribution_table(read_report_data(run))
    assert table is not None
    return {row.head: [cell.text for cell in row.cells] for row in table.rows}


def test_shapley_values_are_summed_and_stand_beside_the_gain(make: Make) -> None:
    rounds = [{"a": {"value": 0.25}, "b": {"value": 0.5}}, {"a": {"value": -0.05}, "b": {"value": None}}]
    run = write_run(make, "shapley", rounds, models=4, gain=0.75, **{"bytes-down": 1_000_000})
    assert cells(run) == {
        "a": ["+0.200", "+0.100", "−0.050", "2"],
        "b": ["+0.500", "+0.500", "+0.500", "1"],
        "All hospitals": ["+1.500", "+0.750", "+0.750", "2"],
    }
    page = write_report(run).read_text()
    assert "What each hospital contributed" in page
    assert "adds to the model of a round, on the validation patients of all hospitals" in page
    assert "Measured in 2 rounds: every hospital scored 8 further models, 2.0 MB sent to them in all, 1 s." in page
    assert "What each hospital contributed in each round" in page  # the chart


def test_alignment_shows_cosines_and_shares_and_says_that_it_cost_nothing(make: Make) -> None:
    rounds = [{"a": {"value": 0.9, "norm-share": 0.7}, "b": {"value": -0.2, "norm-share": 0.3}}] * 2
    rounds[1] = {"a": {"value": 0.5, "norm-share": 0.5}}
    run = write_run(make, "alignment", rounds)
    assert cells(run) == {"a": ["+0.70", "+0.50", "0.60", "2"], "b": ["−0.20", "−0.20", "0.30", "1"]}
    page = write_report(run).read_text()
    assert "Neither is a measure of worth" in page
    assert "Measured in 2 rounds from the replies alone, in 1 s at the server." in page


@pytest.mark.parametrize("method", ["leave-one-out", "shapley", "alignment"])
def test_values_that_are_not_defined_read_na(make: Make, method: str) -> None:
    run = write_run(make, method, [{"a": {"value": None, "norm-share": None}}])
    assert cells(run)["a"][0] == "n/a"
    assert "nan" not in write_report(run).read_text().lower().split()


def test_a_round_that_is_in_the_history_twice_counts_once(make: Make) -> None:
    run = write_run(make, "leave-one-out", [{"a": {"value": 0.1}}])
    again = {"event": "contribution", "arm": "federated", "round": 1, "method": "leave-one-out", "sites": {"a": {"value": 0.3}}}
    with (run / "history.jsonl").open("a") as file:
        file.write(json.dumps(again) + "\n")
    assert cells(run) == {"a": ["+0.300", "+0.300", "+0.300", "1"]}


def test_a_run_that_measured_nothing_shows_nothing(make: Make) -> None:
    run = write_run(make, "shapley", [])
    assert contribution_tables.contribution_table(read_report_data(run)) is None
    assert "What each hospital contributed" not in write_report(run).read_text()
