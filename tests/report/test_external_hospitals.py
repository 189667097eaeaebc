"""External hospitals in the report: on lines of their own with an interval, and in none of the other numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medfl.report.report_data import read_report_data
from medfl.report.report_numbers import report_as_json
from tests.report.pages import page_of

DICE = [0.5, 0.6, 0.7, 0.8]


@pytest.fixture
def run(make: Callable[..., Any], whole_run: Callable[[Any], Path]) -> Path:
    """Return a run of four hospitals with one more that is external."""
    maker = make("segmentation", "background,tumour", rounds=2, evaluation={"external": "elsewhere"})
    joined = {"event": "joined", "site": "elsewhere", "external": True, "train": 0, "validation": 0, "test": 4}
    maker.append(joined | {"cases": {"test": 4}, "excluded": {"LBL-EMPTY": 3}, "patient-ids": True})
    models = {"": 0.0, "local/st-anna": 0.1, "local/uni-hospital": 0.3}
    for folder, loss in models.items():
        place = maker.run.path / "sites" / "elsewhere" / folder
        place.mkdir(parents=True, exist_ok=True)
        patients = {f"pat-{k}": {"classes": {"tumour": {"dice": dice - loss}}} for k, dice in enumerate(DICE)}
        (place / "test.json").write_text(json.dumps({"patients": patients}))
    return whole_run(maker)


def test_every_arm_has_a_line_with_an_interval_on_external_patients(run: Path) -> None:
    said = report_as_json(read_report_data(run))
    cells = {(each["row"], each["column"]): each for each in said["tables"]["external"]}
    assert cells["Together", "Dice"]["number"] == pytest.approx(0.65)
    assert cells["Each alone, mean of 2 models", "Dice"]["number"] == pytest.approx(0.45)
    assert cells["Together", "Patients"]["number"] == 4
    low, high = map(float, cells["Together", "95 %"]["shown"].split(" to "))
    assert 0.5 <= low < 0.65 < high <= 0.8
    (sentence,) = (each for each in said["verdict"] if "elsewhere" in each)
    assert "shared model was 0.65 (95 % " in sentence
    assert sentence.endswith("4 patients).")


def test_external_hospitals_are_in_no_other_number(run: Path) -> None:
    data = read_report_data(run)
    assert "elsewhere" not in {*data.joined, *data.sites, *data.comparison.sites, *(test.site for test in data.site_tests)}
    _, reader = page_of(run)
    assert "4 hospitals and 1 external" in reader.text
    assert "elsewhere (external)" in reader.text


def test_a_report_without_external_hospitals_has_no_word_of_them(
    make: Callable[..., Any], whole_run: Callable[[Any], Path]
) -> None:
    _, reader = page_of(whole_run(make("segmentation", "background,tumour", rounds=2)))
    assert "external" not in reader.text.lower().replace("evaluation.external", "")
