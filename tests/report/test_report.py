"""The report of a run: one file that needs no network, agrees with the history of the run, and is safe to open."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from medfl.cli.app import app
from medfl.errors import RunError
from medfl.metrics import CaseScore, segmentation_metrics
from medfl.report import write_report
from medfl.report.report_data import read_report_data
from medfl.runs import list_runs
from tests.report.pages import page_of
from tests.studies import as_before_arms_moved

Make = Callable[..., Any]
Whole = Callable[[Any], Path]


@pytest.mark.parametrize(
    ("kind", "classes"),
    [
        ("segmentation", "background,tumour"),
        ("segmentation", "background,oedema,core"),
        ("classification", "normal,pneumonia"),
        ("classification", "normal,pneumonia,nodule"),
    ],
)
def test_one_file_that_loads_nothing_from_the_network_and_names_each_hospital(
    make: Make, whole_run: Whole, kind: str, classes: str
) -> None:
    page, reader = page_of(whole_run(make(kind, classes)))
    assert all(address.startswith("data:image/png;base64,") for address in reader.addresses)
    assert not re.search(r"url\(|@import|https?://", page)
    assert not {"script", "link", "iframe", "object"} & set(reader.tags)
    for site in ("harbour-clinic", "north-general", "st-anna", "uni-hospital"):
        assert site in reader.text
    for name in classes.split(",")[1:]:
        assert name in reader.text
    assert "nan" not in reader.text.lower().split()
    assert "None" not in reader.text


def test_names_and_reasons_of_others_cannot_become_code(make: Make) -> None:
    bad = '<script>alert("x")</script>'
    sites = {f"{bad}1": (4, 2, 3), "b": (4, 2, 3)}
    maker = make("segmentation", f"background,{bad}", sites=sites, rounds=1)
    maker.join()
    maker.train("federated", 1, trouble=False)
    maker.test("federated", 1)
    maker.append({"event": "failed", "site": f"{bad}2", "during": "join", "reason": f"{bad}3"})
    maker.append({"event": "joined", "site": "c", "excluded": {f"{bad}4": 1}})
    page, reader = page_of(maker.end("failed", reason=f"{bad}5"))
    assert "<script" not in page
    assert "script" not in reader.tags
    for number in "12345":
        assert f"{bad}{number}" in reader.text


def test_a_local_arm_alone_has_curves_and_a_matrix(make: Make) -> None:
    maker = make("segmentation", "background,tumour", arms="local", rounds=2)
    maker.join()
    maker.train("local", 2)
    for site in maker.sites:
        maker.test("local", 2, site)
    _, reader = page_of(maker.end())
    assert "Every model on every hospital’s patients" in reader.text
    assert "Dice on validation patients" in reader.text


@pytest.mark.parametrize(("status", "badge"), [("failed", "Failed"), ("stopped", "Stopped early"), (None, "Not finished")])
def test_a_run_that_did_not_complete_says_so_and_shows_what_there_is(make: Make, status: str | None, badge: str) -> None:
    maker = make("segmentation", "background,tumour")
    maker.join()
    maker.train("federated", 3)
    run = maker.end(status, reason="[TOO-FEW-SITES] 1 of 4 sites can take part.") if status else maker.run.path
    _, reader = page_of(run)
    assert badge in reader.text
    assert "No model was tested: there is no result to rely on." in reader.text
    assert "after 3 rounds of 12" in reader.text
    if status:
        assert "1 of 4 sites can take part" in reader.text
    assert "It came after the deadline." in reader.text


def test_an_empty_run_still_has_a_report(make: Make) -> None:
    maker = make("classification", "normal,pneumonia")
    (maker.run.path / "history.jsonl").unlink()
    _, reader = page_of(maker.run.path)
    assert "before the first round was done" in reader.text
    assert "No hospital joined." in reader.text


def test_a_resumed_run_shows_every_round_once_and_names_the_site_that_never_came(make: Make) -> None:
    maker = make("segmentation", "background,tumour", sites={"a": (4, 1, 2)}, rounds=2, arms="federated")
    maker.join()
    maker.append({"event": "waiting", "during": "join", "sites": ["b"], "seconds": 5})
    maker.append({"event": "absent", "site": "b", "during": "join", "reason": "[NOT-CONNECTED] x"})
    ok = {"status": "ok", "reason": "", "weight": 3, "used": 40, "excluded": {}, "metrics": {}}
    round_1 = {"event": "round", "arm": "federated", "round": 1, "seconds": 3, "train": {}, "bytes-up": 1, "bytes-down": 1}
    maker.append(round_1 | {"sites": {"a": ok}})
    lost = ok | {"status": "failed", "reason": "[NODE-LOST] x"}
    maker.append({"event": "round", "arm": "federated", "round": 2, "seconds": 3, "sites": {"a": lost}})
    maker.append({"event": "end", "status": "failed", "reason": "[QUORUM] x", "seconds": 9})
    maker.append({"event": "resume", "versions": {}})
    maker.join()
    maker.append(round_1 | {"round": 2, "sites": {"a": ok}})
    data = read_report_data(maker.end())
    assert [(done.number, done.answered) for done in data.arms["federated"].rounds] == [(1, 1), (2, 1)]
    assert [(t.site, t.status, t.reason) for t in data.rejected] == [("b", "absent", "[NOT-CONNECTED] x")]
    assert data.status == "completed"


def test_a_perfect_model_has_a_report(make: Make) -> None:
    maker = make("segmentation", "background,tumour", sites={"a": (4, 1, 2), "b": (4, 1, 2)}, rounds=2, arms="federated")
    perfect = [("p", {"tumour": CaseScore(1.0, 0.0, 1.0, missed=False, false_positive=False, present=True)})]
    maker.metrics = lambda *_, **__: segmentation_metrics(perfect, ["tumour"], 0.0)
    maker.join()
    maker.train("federated", 2, trouble=False)
    maker.test("federated", 2)
    page, reader = page_of(maker.end())
    assert "Dice on validation patients" in reader.text
    assert "This report lacks" not in page


def test_a_part_that_cannot_be_drawn_is_left_out_and_named(
    make: Make, whole_run: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("/data/of/a/patient")

    monkeypatch.setattr("medfl.report.render.line_chart", fail)
    page, reader = page_of(whole_run(make("segmentation", "background,tumour")))
    assert "This report lacks the scores by round (ZeroDivisionError) and the training loss (ZeroDivisionError)" in reader.text
    assert "The test, hospital by hospital" in reader.text
    assert "/data/of/a/patient" not in page


def test_a_page_that_cannot_be_made_says_that_the_run_is_as_it_was(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make("segmentation", "background,tumour").end()
    monkeypatch.setattr("medfl.report.render.verdict.headlines", lambda _: 1 / 0)
    with pytest.raises(RunError, match=r"REPORT-FAILED.*ZeroDivisionError.*the run itself is as it was"):
        write_report(run)


def test_null_scores_of_the_history_are_no_obstacle(make: Make) -> None:
    maker = make("segmentation", "background,tumour", rounds=2)
    maker.join()
    nothing = {"status": "ok", "reason": "", "weight": 3, "metrics": {"train.loss": float("nan"), "eval.patients": 0}}
    maker.append(
        {"event": "round", "arm": "federated", "round": 1, "sites": {"st-anna": nothing}, "score": float("nan"), "train": {}}
    )
    maker.append(
        {"event": "test", "arm": "federated", "model": {"round": 1}, "sites": {}, "eval": {}, "derived": {"dice": None}}
    )
    _, reader = page_of(maker.end())
    assert "no hospital could score the model" in reader.text
    assert "Training loss" not in reader.text.split("Rounds")[0]


def test_examples_are_drawn_and_damaged_ones_left_out(make: Make) -> None:
    maker = make("segmentation", "background,tumour", sites={"a": (4, 1, 2)})
    maker.previews(2)
    folder = maker.run.site_folder("a") / "previews"
    (folder / "preview-3.npz").write_bytes(b"no archive")
    np.savez(folder / "preview-4.npz", image=np.zeros((4, 4)), truth=np.zeros((4, 5)), prediction=np.zeros((4, 4)))
    np.savez(folder / "preview-5.npz", image=np.array([{"a": 1}], dtype=object), truth=np.zeros(1), prediction=np.zeros(1))
    _, reader = page_of(maker.end())
    assert reader.tags.count("img") == 6
    assert "Dice of the whole image 0.90" in reader.text


def test_a_run_that_an_earlier_version_left_has_the_same_report_and_is_listed(make: Make, whole_run: Whole) -> None:
    run = whole_run(make("segmentation", "background,tumour"))
    page, listed = page_of(run)[0], list_runs(run.parent.parent)
    record = run / "study.json"
    record.write_text(json.dumps(as_before_arms_moved(json.loads(record.read_text()))))
    assert "arms" not in json.loads(record.read_text())["study"]
    assert page_of(run)[0] == page
    assert list_runs(run.parent.parent) == listed


@pytest.mark.parametrize(("dice", "shown"), [(0.64, "0.640 (test)"), (None, "–")])
def test_a_score_that_the_hospitals_tell_in_the_test_alone_is_listed(dice: float | None, shown: str, make: Make) -> None:
    maker = make("segmentation", "background,tumour")
    derived = {"dice": dice, "dice.tumour": dice}
    maker.append({"event": "test", "arm": "federated", "model": {"round": 1}, "sites": {}, "eval": {}, "derived": derived})
    folder = maker.run.path.parent.parent
    (listed,) = list_runs(folder)
    assert (listed.score, listed.test_score) == (None, dice)
    assert shown in CliRunner().invoke(app, ["runs", str(folder)], env={"COLUMNS": "200"}).output


def test_folders_of_the_machine_stay_out(make: Make, whole_run: Whole) -> None:
    run = whole_run(make("segmentation", "background,tumour"))
    page, _ = page_of(run)
    assert "/secret/folder" not in page
    assert str(run.parent.parent) not in page


def test_writing_again_gives_the_same_file(make: Make, whole_run: Whole) -> None:
    run = whole_run(make("segmentation", "background,tumour"))
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


def test_a_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError):
        write_report(tmp_path)


def test_a_report_needs_no_torch() -> None:
    code = "import sys, medfl.report; sys.exit(int('torch' in sys.modules or 'monai' in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_list_of_runs_cuts_no_name(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    maker = make("segmentation", "background,tumour", name="a-study-with-the-longest-name-xx", rounds=1)
    maker.join()
    run = maker.end()
    shown = CliRunner().invoke(app, ["runs", str(run.parent.parent)]).stdout
    assert run.name in shown
    assert "…" not in shown
