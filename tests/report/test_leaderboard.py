"""The leaderboard: its numbers by hand, and that it says honestly which strategies cannot be told apart."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medfl.messages.records import Metrics
from medfl.metrics import CaseScore, as_personal, classification_metrics, derive, merge, segmentation_metrics
from medfl.report.leaderboard import Leaderboard, LeaderboardRow, build_leaderboard
from medfl.report.leaderboard_page import cost_table, render_leaderboard, verdict_sentences, write_leaderboard
from medfl.report.leaderboard_run import read_leaderboard_run
from medfl.report.report_data import read_report_data
from medfl.runs import Run
from medfl.simulation.simulated_run import SimulatedRun
from medfl.simulation.strategy_specs import LOCAL, parse_strategy_specs
from medfl.simulation.sweep_runner import NOT_RUN, PlannedRun, RunResult, Sweep
from medfl.study import Server, Simulation, Study, StudyApp
from medfl.study.study_file import StudyFile
from medfl.testing.sites import make_study

Dice = Mapping[str, Sequence[float]]  # of the patients of each hospital
EVEN = {"a": [0.80, 0.84, 0.88, 0.92, 0.86, 0.82], "b": [0.70, 0.74, 0.78, 0.72]}
STUDY = {
    "name": "tumour",
    "rounds": 4,
    "task": {"kind": "segmentation", "dimension": 3, "modality": "MR", "classes": "background,tumour"},
    "network": {"name": "unet"},
    "loss": {"name": "dice-ce"},
}


def shifted(dice: Dice, by: float) -> dict[str, list[float]]:
    return {site: [value + by for value in values] for site, values in dice.items()}


def metrics_of(values: Sequence[float]) -> Metrics:
    scores = [
        (f"pat-{k}", {"tumour": CaseScore(v, math.nan, math.nan, missed=False, false_positive=False, present=True)})
        for k, v in enumerate(values)
    ]
    return segmentation_metrics(scores, ("tumour",), 0.5)


RUN_KEYS = (
    "seed status reason path score lowest lowest-site personal shared-at-home lacks-layers rounds steps seconds "
    "bytes-up bytes-down"
)
ROW_KEYS = (
    "strategy settings score spread interval behind tied lowest lowest-sites personal shared-at-home steps rounds seconds "
    "bytes-up bytes-down bytes-up-per-round bytes-down-per-round seeds-done runs"
)


class Maker:
    """Makes a sweep, run by run, with the Dice of every test patient given."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.study = folder, Study.model_validate(STUDY)
        self.planned: list[PlannedRun] = []
        self.results: list[RunResult] = []

    def plan(self, text: str, seed: int) -> PlannedRun:
        (strategy,), _ = parse_strategy_specs([text])
        arms = (LOCAL,) if text == LOCAL else ("federated",)
        server = Server(run=f"run-{len(self.planned)}")
        layers = {"personal": self.study.personal.model_copy(update={"layers": ("norm",)})} if "+norm" in text else {}
        study = self.study.model_copy(update={"arms": arms, "seed": seed, **layers})
        run = self.folder / "runs" / study.name / server.run
        app = StudyApp(study, server=server)
        self.planned.append(PlannedRun(strategy, seed, SimulatedRun(StudyFile(self.folder, "", {}), app, {}, (), run)))
        return self.planned[-1]

    def done(self, text: str, dice: Dice, *, seed: int = 1, rounds: int = 4, steps: int = 10, own: Dice | None = None) -> None:
        planned = self.plan(text, seed)
        study = planned.simulation.study
        run = Run.create(self.folder / "runs", planned.simulation.app)
        replies = {site: {"status": "ok", "metrics": {"train.steps": steps, "train.loss": 0.4}} for site in dice}
        for number in range(1, rounds + 1):
            event = {"event": "round", "arm": study.arms[0], "round": number, "sites": replies, "seconds": 2.5}
            run.history.append(event | {"bytes-up": 600, "bytes-down": 800})
        owners = list(dice) if text == LOCAL else [""]
        for owner in owners:
            self._test(run, study, dice, owner, own)
        run.history.append({"event": "end", "status": "completed", "seconds": 20.0})
        self.results.append(RunResult(planned, "completed"))

    def _test(self, run: Run, study: Study, dice: Dice, owner: str, own: Dice | None) -> None:
        at_home = {owner: [v + 0.1 for v in dice[owner]]} if owner else {}
        metrics = {site: metrics_of(at_home.get(site, values)) for site, values in dice.items()}
        merged = merge(study, list(metrics.values()))
        event: dict[str, Any] = {"event": "test", "arm": LOCAL if owner else "federated", "eval": merged}
        event |= {"derived": derive(study, merged), "model": {"round": 3} | ({"site": owner} if owner else {})}
        if own:
            event["personal"] = as_personal(merge(study, [metrics_of(values) for values in own.values()]))
            metrics = {site: m | as_personal(metrics_of(own[site])) for site, m in metrics.items()}
        run.history.append(event | {"sites": {site: {"metrics": m} for site, m in metrics.items()}})
        for site, values in dice.items() if not owner else ():
            run.site_folder(site).mkdir(parents=True)
            patients = {f"pat-{k}": {"classes": {"tumour": {"dice": v}}} for k, v in enumerate(values)}
            (run.site_folder(site) / "test.json").write_text(json.dumps({"patients": patients}))

    def failed(self, text: str, reason: str, seed: int = 1) -> None:
        self.results.append(RunResult(self.plan(text, seed), "failed", reason))

    def board(self) -> Leaderboard:
        return build_leaderboard(Sweep(self.folder, self.study, tuple(self.planned), {}), self.results)


@pytest.fixture
def made(tmp_path: Path) -> Maker:
    return Maker(tmp_path / "sweeps" / "tumour" / "20260101T000000Z-abcdef")


def row_of(board: Leaderboard, title: str) -> LeaderboardRow:
    return next(row for row in board.rows if row.title == title)


def test_the_numbers_of_a_run(made: Maker) -> None:
    made.done("fedavg", EVEN)
    (row,) = made.board().rows
    assert row.score == pytest.approx((6 * 0.853333 + 4 * 0.735) / 10, abs=1e-5)
    assert row.lowest == pytest.approx(0.735)
    assert row.lowest_sites == ("b",)
    assert (row.steps, row.rounds, row.seconds, row.bytes_up, row.bytes_down) == (80, 4, 10.0, 2400, 3200)
    assert row.interval is not None
    assert row.interval[0] < row.score < row.interval[1]
    assert row.interval == pytest.approx((0.764, 0.850), abs=0.01)  # mean 0.806, standard error 0.022
    assert made.board().patients == 10


def test_a_strategy_that_is_better_on_every_patient_leads_although_the_intervals_overlap(made: Maker) -> None:
    made.done("fedavg", EVEN)
    made.done("fedprox", shifted(EVEN, 0.01))
    board = made.board()
    first, second = board.rows
    assert (first.title, second.title) == ("fedprox", "fedavg")
    assert first.interval is not None
    assert second.interval is not None
    assert second.interval[1] > first.interval[0]
    assert second.behind == pytest.approx((-0.01, -0.01))
    assert not second.tied
    assert verdict_sentences(board)[0].startswith("fedprox leads with a Dice of 0.816 on 10 test patients, apart from")


def test_strategies_that_win_on_some_patients_and_lose_on_others_are_level(made: Maker) -> None:
    mixed = {"a": [0.90, 0.75, 0.98, 0.82, 0.96, 0.73], "b": [0.80, 0.64, 0.88, 0.61]}
    made.done("fedavg", EVEN)
    made.done("fedprox:mu=0.1", mixed)
    made.done("fedmedian", shifted(EVEN, -0.2))
    board = made.board()
    assert [(row.title, row.tied) for row in board.rows] == [("fedprox mu=0.1", False), ("fedavg", True), ("fedmedian", False)]
    expected = "The first 2 cannot be told apart on these patients; fedprox mu=0.1 stands first with a Dice of"
    assert verdict_sentences(board)[0].startswith(expected)


def test_equal_scores_are_a_tie(made: Maker) -> None:
    made.done("fedavg", EVEN)
    made.done("fedprox", EVEN)
    assert verdict_sentences(made.board())[0].startswith("The two cannot be told apart")


def test_seeds_are_averaged_their_spread_is_shown_and_a_changing_order_makes_a_tie(made: Maker) -> None:
    for seed, ahead in ((1, 0.03), (2, -0.01)):
        made.done("fedavg", EVEN, seed=seed)
        made.done("fedprox", shifted(EVEN, ahead), seed=seed)
    board = made.board()
    first, second = board.rows
    assert board.seeds == (1, 2)
    assert first.score == pytest.approx(0.806 + 0.01)
    assert first.spread == pytest.approx(0.04)
    assert second.behind == pytest.approx((-0.01, -0.01))
    assert second.tied
    assert board.patients == 10  # the same in both splits


def test_a_failure_is_in_the_leaderboard_with_its_reason(made: Maker) -> None:
    made.done("fedavg", EVEN)
    made.failed("krum", "[QUORUM] <too> few.")
    made.plan("fedprox", 1)
    board = made.board()
    assert [run.status for row in board.rows for run in row.runs] == ["completed", "failed", NOT_RUN]
    sentences = " ".join(verdict_sentences(board))
    assert "krum failed" in sentences
    assert "fedprox has not been run" in sentences
    page = render_leaderboard(board)
    assert "[QUORUM] &lt;too&gt; few." in page
    assert "Not finished" in page


def test_a_strategy_with_fewer_seeds_is_marked(made: Maker) -> None:
    made.done("fedavg", EVEN, seed=1)
    made.done("krum", EVEN, seed=1)
    made.done("fedavg", EVEN, seed=2)
    made.failed("krum", "why", seed=2)
    assert "fewer seeds" in " ".join(verdict_sentences(made.board()))
    assert "1 of 2" in render_leaderboard(made.board())


@pytest.mark.parametrize(
    ("steps", "expected"), [(10, "The budget is matched: each took 80 local"), (15, "is not matched: runs took 80 to 120")]
)
def test_the_verdict_says_whether_the_budget_is_matched(made: Maker, steps: int, expected: str) -> None:
    made.done("fedavg", EVEN)
    made.done("fedprox", EVEN, steps=steps)
    assert expected in " ".join(verdict_sentences(made.board()))


def test_hospitals_alone_are_scored_on_all_patients_and_at_home(made: Maker) -> None:
    made.done("fedavg", EVEN)
    made.done(LOCAL, EVEN)
    alone = row_of(made.board(), LOCAL)
    # each model is 0.1 better at home, where a has 6 of the 10 patients and b has 4
    assert alone.score == pytest.approx(0.806 + (0.06 + 0.04) / 2)
    assert alone.personal == pytest.approx(0.906)
    assert (alone.bytes_up, alone.bytes_down) == (0, 0)
    assert alone.interval is None


def test_a_first_model_that_was_sent_whole_counts_in_all_and_in_no_round(made: Maker) -> None:
    for text in ("fedavg", LOCAL):
        made.done(text, EVEN)
        for site in EVEN:
            Run.open(made.results[-1].run).history.append({"event": "joined", "site": site, "train": 1, "bytes-down": 5000})
    row, alone = (row_of(made.board(), title) for title in ("fedavg", LOCAL))
    assert (row.bytes_up, row.bytes_down, row.round_bytes) == (2400, 13_200, (600, 800))
    (cells,) = (each.cells for each in cost_table(made.board()).rows if each.head == "fedavg")
    assert [cell.text for cell in cells[2:6]] == ["600 B", "800 B", "2.4 kB", "13.2 kB"]
    assert (alone.bytes_up, alone.bytes_down) == (0, 0)


def test_personal_models_stand_beside_the_shared_one(made: Maker) -> None:
    made.done("fedavg", EVEN)
    assert not made.board().has_personal
    assert "personal models" not in render_leaderboard(made.board()).partition("How to read")[0]
    made.done("fedavg+norm", EVEN, own=shifted(EVEN, 0.05))
    board = made.board()
    row = row_of(board, "fedavg + norm")
    assert row.personal - row.shared_on_own == pytest.approx(0.05)
    assert "+0.050" in render_leaderboard(board)
    assert "lacks the layers that stay at the hospitals" in " ".join(verdict_sentences(board))


def test_no_interval_gives_away_what_a_policy_hides(made: Maker) -> None:
    made.done("fedavg", EVEN)
    run = made.results[0].run / "history.jsonl"
    run.write_text(run.read_text().replace('"eval.scores-hidden.tumour":0', '"eval.scores-hidden.tumour":1'))
    assert made.board().rows[0].interval is None


def test_files_for_machines_and_for_people_are_written(made: Maker) -> None:
    made.done("fedavg", EVEN)
    made.done("fedprox:mu=0.1+int8", shifted(EVEN, 0.01))
    page = write_leaderboard(made.board())
    content = json.loads((made.folder / "board.json").read_text())
    first = content["rows"][0]
    assert first["strategy"] == "fedprox:mu=0.1+int8"
    assert first["settings"] == {"strategy.name": "fedprox", "strategy.options.mu": 0.1, "compression.codec": "int8"}
    assert (first["steps"], first["bytes-up"], first["bytes-up-per-round"], first["seeds-done"]) == (80, 2400, 600, 1)
    assert first["spread"] is None
    assert [run["path"] for run in first["runs"]] == ["runs/tumour/run-1"]
    assert (" ".join(first), " ".join(first["runs"][0])) == (ROW_KEYS, RUN_KEYS)
    assert len(content["verdict"]) == 2
    html = page.read_text()
    assert not re.search(r'(?:src|href)="(?:https?:)?//', html)
    assert html.count('<a href="runs/tumour/') == 2


def test_the_verdict_says_that_nothing_was_tested(made: Maker) -> None:
    made.failed("fedavg", "why")
    assert verdict_sentences(made.board())[0] == "No strategy reached a test."


def test_an_auroc_on_the_leaderboard_is_that_of_the_single_scores(tmp_path: Path) -> None:
    # all four scores lie in one bin, so that a report can only say 0.5 +/- 0.5
    study = make_study("classification")
    run = Run.create(tmp_path, StudyApp(study, Simulation()))
    labels, scores = ["no", "yes", "no", "yes"], [0.5, 0.5001, 0.5002, 0.5003]
    probabilities = np.array([[1 - p, p] for p in scores])
    truth = [study.task.classes.index(label) for label in labels]
    metrics = classification_metrics([f"p{k}" for k in range(4)], truth, probabilities, study.task.classes, 0.5)
    sites = {"a": {"metrics": metrics}}
    run.history.append({"event": "test", "arm": "federated", "model": {"round": 1}, "sites": sites, "eval": metrics})
    units = [{"truth": t, "probabilities": {"no": 1 - p, "yes": p}} for t, p in zip(labels, scores, strict=True)]
    run.site_folder("a").mkdir(parents=True)
    (run.site_folder("a") / "test.json").write_text(json.dumps({"patients": {f"p{k}": [u] for k, u in enumerate(units)}}))
    assert read_report_data(run.path).site_tests[0].derived["auroc"] == 0.5
    planned = SimpleNamespace(seed=1, spec=SimpleNamespace(name="fedavg"))
    found = read_leaderboard_run(planned, SimpleNamespace(run=run.path, status="completed"), tmp_path)  # type: ignore[arg-type]
    assert found.score == 0.75
