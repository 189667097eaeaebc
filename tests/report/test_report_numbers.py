"""`medfl report --json` and `--csv`: every number of the report, unrounded, under the names that the page has for it."""

from __future__ import annotations

import csv
import html
import io
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from medfl.cli.app import app
from medfl.metrics import derive
from medfl.report.provenance_tables import rounds_table
from medfl.report.render import report_content
from medfl.report.report_data import read_report_data
from medfl.report.report_numbers import CSV_COLUMNS, report_as_csv, report_as_json, report_entries
from tests.report.pages import page_of

Make = Callable[..., Any]
Whole = Callable[[Any], Path]
KINDS = [
    ("segmentation", "background,tumour"),
    ("segmentation", "background,oedema,core"),
    ("classification", "normal,pneumonia"),
    ("classification", "normal,pneumonia,nodule"),
]


@pytest.mark.parametrize(("kind", "classes"), KINDS)
def test_every_cell_and_every_point_of_the_page_is_there(make: Make, whole_run: Whole, kind: str, classes: str) -> None:
    run = whole_run(make(kind, classes))
    page, _ = page_of(run)
    shown = {entry.shown for entry in report_entries(report_content(read_report_data(run)))}
    cells = {html.unescape(text) for text in re.findall(r"<td[^>]*>([^<]*)</td>", page)}
    bars = set(re.findall(r'<span class="barvalue">([^<]*)</span>', page))
    values = set(re.findall(r'<p class="value">([^<]*)</p>', page))
    points = {text.split(": ")[-1].split(" ")[0] for text in re.findall(r"<circle[^>]*><title>([^<]*)</title>", page)}
    assert len(cells) > 50
    assert values
    assert cells | bars | values | points <= shown


def test_a_first_model_that_was_sent_whole_has_a_row_and_is_in_the_sum_of_bytes(make: Make) -> None:
    maker = make("segmentation", "background,tumour")
    maker.train("federated", 2)
    for site in ("north-general", "st-anna", "st-anna"):
        maker.append({"event": "joined", "site": site, "train": 1, "bytes-down": 20_000_000})
    table = rounds_table(read_report_data(maker.end()))
    assert table is not None
    down = table.columns.index("Sent to hospitals") - 1
    shown = {row.head: row.cells[down].number for row in table.rows}
    assert shown["first model, as hospitals joined"] == 60_000_000
    assert shown["In all"] == 2 * 77_000_000 + 60_000_000


@pytest.mark.parametrize(("kind", "classes"), KINDS)
def test_numbers_are_those_of_the_history_and_not_rounded(make: Make, whole_run: Whole, kind: str, classes: str) -> None:
    run = whole_run(make(kind, classes))
    data = read_report_data(run)
    numbers = {(e.table, e.row, e.column): e.number for e in report_entries(report_content(data))}
    score = "Dice" if kind == "segmentation" else "AUROC"
    for tested in data.site_tests:
        expected = derive(data.study, tested.metrics)["dice" if kind == "segmentation" else "auroc"]
        assert numbers["test", tested.site, score] == expected
        assert numbers["test", tested.site, "Test patients"] == tested.patients
    assert numbers["loss_curve", "All hospitals together", "1"] == dict(data.arms["federated"].losses[""])[1]
    assert numbers["matrix", "st-anna alone", "st-anna’s patients"] == data.comparison.local["st-anna"]["st-anna"]


def test_json_and_csv_hold_the_same(make: Make, whole_run: Whole) -> None:
    data = read_report_data(whole_run(make("classification", "normal,pneumonia")))
    as_json = json.loads(json.dumps(report_as_json(data), allow_nan=False))
    rows = list(csv.DictReader(io.StringIO(report_as_csv(report_content(data)))))
    assert tuple(rows[0]) == CSV_COLUMNS
    cells = [(t, c["row"], c["column"], c["number"], c["shown"]) for t, of_table in as_json["tables"].items() for c in of_table]
    in_csv = [(r["table"], r["row"], r["column"], float(r["number"]) if r["number"] else None, r["shown"]) for r in rows]
    assert cells == in_csv
    assert as_json["hospitals"] == ["harbour-clinic", "north-general", "st-anna", "uni-hospital"]
    assert as_json["status"] == "completed"
    assert as_json["settings"]["rounds"] == "12"


def test_what_is_hidden_has_no_number(make: Make) -> None:
    maker = make("segmentation", "background,tumour", sites={"a": (4, 1, 2)}, arms="federated", rounds=1)
    maker.append({"event": "joined", "site": "a", "train": -10, "validation": 3, "test": -10, "excluded": {"LBL-EMPTY": -10}})
    entries = {(e.table, e.row, e.column): e for e in report_entries(report_content(read_report_data(maker.end())))}
    assert entries["used", "a", "Training"].shown == "<10"
    assert math.isnan(entries["used", "a", "Training"].number)
    assert entries["used", "a", "Validation"].number == 3


def test_the_command_prints_them_and_writes_nothing(make: Make, whole_run: Whole) -> None:
    run = whole_run(make("segmentation", "background,tumour"))
    for option, begins in (("--json", "{"), ("--csv", "table,row,column,number,shown")):
        done = CliRunner().invoke(app, ["report", str(run), option])
        assert done.exit_code == 0, done.output
        assert done.stdout.startswith(begins)
    assert not (run / "report.html").exists()


def test_an_empty_run_has_numbers_too(make: Make) -> None:
    maker = make("classification", "normal,pneumonia")
    (maker.run.path / "history.jsonl").unlink()
    assert json.loads(json.dumps(report_as_json(read_report_data(maker.run.path)), allow_nan=False))["hospitals"] == []
