"""The page of a comparison: an answer no stronger than its verdicts, its parts, and that everybody can read it."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medfl.cli.app import app
from medfl.errors import RunError
from medfl.report.checklists import AUTHORS, FILLED, fill_checklists
from medfl.report.comparison_data import read_comparison
from medfl.report.comparison_page import render_comparison, write_comparison_page
from medfl.report.comparison_tables import case_tables, hospital_forest, model_matrix, quantile_table, work_table
from medfl.report.comparison_words import answer_sentences, comparison_headlines
from medfl.runs import Run
from tests.report.comparisons import make_comparison, set_difference

FEW = {"a": (8, 2, 4), "b": (9, 2, 5)}
VOID = {"meta", "br", "img", "link", "input"}


class Outline(HTMLParser):
    """Collects what a screen reader and a keyboard need of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.headings: list[int] = []
        self.tables: list[set[str]] = []  # of each: "caption", "scope" if all headers have one
        self.unnamed: list[str] = []  # drawings, regions and links without a name
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.link: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [given["id"]] if given.get("id") else []  # type: ignore[list-item]
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))
        elif tag == "table":
            self.tables.append({"scope"})
        elif tag == "caption":
            self.tables[-1].add("caption")
        elif tag == "th" and "scope" not in given:
            self.tables[-1].discard("scope")
        elif (tag == "svg" and given.get("aria-hidden") != "true") or given.get("role") == "region":
            if not (given.get("aria-label") or "").strip():
                self.unnamed.append(tag)
        elif tag == "a":
            self.link = ""

    def handle_data(self, data: str) -> None:
        if self.link is not None:
            self.link += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            if not (self.link or "").strip():
                self.unnamed.append("a")
            self.link = None


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_comparison(tmp_path_factory.mktemp("sweeps") / "20260101T000000Z-abcdef", sites=FEW)


@pytest.fixture
def few(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / made.name))


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("higher", "the model trained together was better than the models that hospitals trained alone"),
        ("lower", "the model trained together was worse than the models that hospitals trained alone"),
        ("not known", "it is not known whether the model trained together is better or worse"),
    ],
)
def test_the_answer_is_as_strong_as_the_verdict(few: Path, verdict: str, words: str) -> None:
    set_difference(few, "local", verdict=verdict)
    first, *rest = answer_sentences(read_comparison(few))
    assert words in first
    assert "+0.100 (95 % +0.040 to +0.160; p = 0.004)" in first
    assert "Whether it differs from one model trained on all patients in one place is not known" in " ".join(rest)


def test_three_numbers_have_their_intervals_or_say_that_there_is_none(few: Path) -> None:
    set_difference(few, "pooled", interval=None, p_value=None)
    score, local, pooled = comparison_headlines(read_comparison(few))
    assert (score.value, local.value, pooled.value) == ("0.800", "+0.100", "−0.020")
    assert score.note == "95 % 0.600 to 0.900; 9 test patients of 2 hospitals"
    assert pooled.note == "no interval: too few patients; p not known; which is higher is not known"


def test_how_many_patients_would_tell_and_whether_a_margin_is_kept_is_said(few: Path) -> None:
    needed = {"patients": 1200, "to_find": "difference"}
    set_difference(few, "local", verdict="not known", needed=needed)
    set_difference(few, "pooled", margin=0.06, not_inferior=True)
    words = " ".join(answer_sentences(read_comparison(few)))
    assert "about 1 200 test patients of these hospitals would be needed, if the difference is what it looks like" in words
    assert "It is not worse than that by more than 0.06" in words
    set_difference(few, "pooled", not_inferior=False)
    assert "It is not shown that it is not worse than that" in " ".join(answer_sentences(read_comparison(few)))


@pytest.mark.parametrize("kind", ["segmentation", "classification"])
def test_everybody_can_read_the_page(tmp_path: Path, kind: str) -> None:
    page = render_comparison(read_comparison(make_comparison(tmp_path, kind, FEW, seeds=[1])))
    outline = Outline(page)
    assert "This page lacks" not in page
    assert outline.headings[0] == 1
    assert outline.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(outline.headings, outline.headings[1:], strict=False))
    assert len(outline.tables) > 8
    assert all(table == {"caption", "scope"} for table in outline.tables)
    assert outline.unnamed == []
    assert len(set(outline.ids)) == len(outline.ids)
    assert {address.removeprefix("#") for address in outline.addresses} <= set(outline.ids)  # and so nothing is loaded
    assert "url(" not in page
    assert "@import" not in page


def test_what_is_written_of_others_is_escaped(few: Path) -> None:
    record = json.loads((few / "comparison.json").read_text())
    record["failed"] = ["fedprox, seed 2: <script>alert(1)</script>"]
    record["left_out"] = ["local, seed 2, is left out: it has no scores on the test patients of b."]
    (few / "comparison.json").write_text(json.dumps(record))
    page = render_comparison(read_comparison(few))
    assert "<script" not in page
    assert "1 run failed" in page
    assert record["left_out"][0] in page


def test_the_bytes_of_arms_that_begin_with_the_federated_model_hold_a_first_model_that_was_sent(few: Path) -> None:
    record = json.loads((few / "comparison.json").read_text())
    (federated,) = (arm for arm in record["arms"] if arm["arm"] == "federated")
    record["arms"].append(federated | {"arm": "fine-tuned", "title": "fine-tuned fedavg"})
    (few / "comparison.json").write_text(json.dumps(record))
    for run in record["runs"]:
        history = Run.open(few / run["path"]).history
        for site in FEW:
            history.append({"event": "joined", "site": site, "train": 8, "bytes-down": 20_000_000})
        if run["strategy"]:
            history.append({"event": "round", "arm": "fine-tuned", "round": 1, "sites": {}, "bytes-up": 9, "bytes-down": 9})
    sent = {row.head: [cell.text for cell in row.cells[3:5]] for row in work_table(read_comparison(few)).rows}
    assert sent["federated fedavg"] == sent["fine-tuned fedavg"] == ["231.0 MB", "271.0 MB"]
    assert sent["local"] == ["–", "–"]


def test_each_hospital_has_the_score_and_the_interval_of_each_arm(few: Path) -> None:
    data = read_comparison(few)
    forest = hospital_forest(data)
    assert forest is not None
    assert [group.title for group in forest.groups] == ["All hospitals together", "a", "b"]
    assert forest.groups[2].note == "5 test patients"
    row = forest.groups[2].rows[0]
    assert (row.title, row.value, row.reach) == ("federated fedavg", "0.790", "(0.500 to 0.900)")
    assert (row.start, row.start + row.width) == pytest.approx((0, 100))  # the axis ends where the intervals do
    assert row.point == pytest.approx(100 * (0.79 - 0.5) / 0.4)


def test_the_matrix_has_every_model_on_every_hospitals_patients(few: Path) -> None:
    matrix = model_matrix(read_comparison(few))
    assert matrix is not None
    assert [row.head for row in matrix.rows] == ["a alone", "b alone", "federated fedavg", "pooled"]
    assert [cell.css for cell in matrix.rows[0].cells] == ["num own", "num"]
    assert matrix.rows[0].cells[1].number == pytest.approx(matrix.rows[1].cells[1].number)  # made equal here


def test_worst_and_best_cases_are_pseudonyms_in_order(few: Path) -> None:
    found = case_tables(read_comparison(few))
    assert found is not None
    worst, best = ([row.cells[1].number for row in table.rows] for table in found)
    assert worst == sorted(worst)
    assert best == sorted(best, reverse=True)
    assert worst[0] < best[0]
    assert all(row.head.startswith("pat-") for table in found for row in table.rows)


def test_of_many_hospitals_the_worst_ten_and_quantiles_are_shown(tmp_path: Path) -> None:
    sites = {f"hospital-{k:02d}": (4, 2, 2) for k in range(14)}
    data = read_comparison(make_comparison(tmp_path, sites=sites, seeds=[1]))
    forest, quantiles = hospital_forest(data), quantile_table(data)
    assert forest is not None
    assert quantiles is not None
    assert (len(forest.groups), forest.left_out) == (11, 4)
    lowest = [float(group.rows[0].value) for group in forest.groups[1:]]
    assert lowest == sorted(lowest)
    assert float(quantiles.rows[0].cells[0].text) == lowest[0]


def test_every_item_that_is_filled_points_to_a_part_of_the_page(few: Path) -> None:
    claim, tripod = fill_checklists({"intervals"}, {"flow", "differences"})
    assert [item.number for item in claim.items] == [str(k) for k in range(1, 45)]
    assert len(tripod.items) == 52
    status = {item.number: item for item in claim.items}
    assert (status["29"].status, status["29"].at) == (FILLED, "differences")
    assert status["33"].status == AUTHORS  # no external hospital
    assert status["25"].status == AUTHORS  # that part is not there
    assert all(bool(item.at) == bool(item.text) == (item.status != AUTHORS) for item in (*claim.items, *tripod.items))
    ids = set(Outline(render_comparison(read_comparison(few))).ids)
    every = fill_checklists({"intervals", "several-seeds", "external", "ensemble", "fine-tuned", "patient-ids"}, ids)
    assert {item.number for item in every[0].items if item.at} >= {"27", "29", "30", "33", "35", "38"}


def test_a_damaged_comparison_is_refused_with_the_way_out(few: Path) -> None:
    (few / "comparison.json").write_text('{"arms": []}')
    with pytest.raises(RunError, match="medfl resume") as raised:
        write_comparison_page(few)
    assert raised.value.code == "COMPARISON-DAMAGED"


def test_the_command_report_writes_the_page_again(few: Path) -> None:
    done = CliRunner().invoke(app, ["report", str(few)])
    assert done.exit_code == 0, done.output
    assert (few / "comparison.html").read_text().startswith("<!DOCTYPE html>")
    assert (few / "comparison.html").stat().st_mode & 0o077 == 0  # it lists single patients
    assert CliRunner().invoke(app, ["report", str(few), "--csv"]).exit_code == 2
