"""Leaderboard of a sweep: what each strategy reached at the same budget, and which of them can be told apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medfl.evaluation.bootstrap import Floats, all_patients, confidence_interval, draw_weights
from medfl.report.leaderboard_run import LeaderboardRun, read_leaderboard_run
from medfl.runs.history import to_json_value
from medfl.simulation.strategy_specs import LOCAL
from medfl.simulation.sweep_runner import RunResult, Sweep
from medfl.study import Study

Interval = tuple[float, float]
_COSTS = ("steps", "rounds", "seconds", "bytes_up", "bytes_down", "start_bytes")


@dataclass(frozen=True)
class LeaderboardRow:
    """One strategy; means are over its seeds, nan where nothing is known.

    Parameters
    ----------
    title : str
        Name for people.
    text : str
        Specification as `medfl sweep` takes it.
    settings : mapping
        Dotted keys of the study that select it.
    runs : tuple of LeaderboardRun
        One for each seed, including those that failed.
    score : float
        Score on all test patients; for `LOCAL`, the mean over the hospitals' models, each on the test patients of all.
    spread : float
        Highest minus lowest score over the seeds, nan with one.
    interval : (float, float) or None
        95 % confidence interval of the score, over patients.
    behind : (float, float) or None
        95 % confidence interval of the difference to the first row, on the same patients and seeds.
    tied : bool
        Cannot be told apart from the first: `behind` includes 0, or the order changes from seed to seed.
    lowest : float
        Lowest score at a hospital.
    lowest_sites : tuple of str
        Hospitals that have it, of all seeds.
    personal, shared_on_own : float
        Score of the hospitals' personal models, each on its hospital's own test patients, and of the shared model on the same.
    steps, rounds, seconds, bytes_up, bytes_down, start_bytes : float
        Cost of one run: local steps of all hospitals, rounds, time of the rounds, bytes that were exchanged, and of these those
        of a first model that was sent before the rounds.
    """

    title: str
    text: str
    settings: Mapping[str, Any]
    runs: tuple[LeaderboardRun, ...]
    score: float
    spread: float
    interval: Interval | None
    behind: Interval | None
    tied: bool
    lowest: float
    lowest_sites: tuple[str, ...]
    personal: float
    shared_on_own: float
    steps: float
    rounds: float
    seconds: float
    bytes_up: float
    bytes_down: float
    start_bytes: float

    @property
    def round_bytes(self) -> tuple[float, float]:
        """Bytes up and down in one round, without a first model; nan without a round."""
        down = self.bytes_down - self.start_bytes
        return (self.bytes_up / self.rounds, down / self.rounds) if self.rounds else (math.nan, math.nan)

    @property
    def completed_runs(self) -> tuple[LeaderboardRun, ...]:
        """Runs that completed."""
        return tuple(run for run in self.runs if run.status == "completed")

    @property
    def lacks_layers(self) -> bool:
        """Whether layers stay at the hospitals, so that the shared model is not whole."""
        return any(run.lacks_layers for run in self.runs)

    @property
    def is_local(self) -> bool:
        """Whether this is what hospitals reach without each other."""
        return self.text == LOCAL


@dataclass(frozen=True)
class Leaderboard:
    """Leaderboard of a sweep.

    Parameters
    ----------
    folder : Path
        Folder of the sweep.
    study : Study
        Without the settings of any strategy.
    seeds : tuple of int
        Seeds of the sweep.
    patients : int
        Distinct test patients, over all seeds.
    rows : tuple of LeaderboardRow
        The best first; those without a score last.
    """

    folder: Path
    study: Study
    seeds: tuple[int, ...]
    patients: int
    rows: tuple[LeaderboardRow, ...]

    @property
    def has_personal(self) -> bool:
        """Whether any strategy gives the hospitals personal models."""
        return any(not math.isnan(row.personal) for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """Return the leaderboard for JSON; paths are relative to the folder of the sweep."""
        head = {"study": self.study.name, "hash": self.study.approved_hash(), "score": score_name(self.study)}
        about = {"seeds": self.seeds, "rounds": self.study.rounds, "test-patients": self.patients}
        rows = [_row_as_json(row) for row in self.rows]
        content: dict[str, Any] = to_json_value(head | about | {"rows": rows})
        return content


def score_name(study: Study) -> str:
    """Return the name of the score of a study."""
    return "Dice" if study.task.kind == "segmentation" else "AUROC"


def build_leaderboard(sweep: Sweep, results: Sequence[RunResult]) -> Leaderboard:
    """Read the runs of a sweep, and compare them.

    Parameters
    ----------
    sweep : Sweep
        What was planned.
    results : sequence of RunResult
        Results of the runs that are over.

    Returns
    -------
    Leaderboard
    """
    by_plan = {id(result.planned): result for result in results}
    runs: dict[str, list[LeaderboardRun]] = {}
    for planned in sweep.runs:
        runs.setdefault(planned.spec.text, []).append(read_leaderboard_run(planned, by_plan.get(id(planned)), sweep.folder))
    drawn, patients = _bootstrap_scores([run for of_one in runs.values() for run in of_one])
    specs = {spec.text: spec for spec in sweep.specs}
    means = {text: _mean(run.score for run in of_one) for text, of_one in runs.items()}
    order = sorted(runs, key=lambda text: (math.isnan(means[text]), -means[text]))
    rows = [_make_row(specs[text].title, text, specs[text].overrides, runs[text], runs[order[0]], drawn) for text in order]
    return Leaderboard(sweep.folder, sweep.study, sweep.seeds, patients, tuple(rows))


def _bootstrap_scores(runs: Sequence[LeaderboardRun]) -> tuple[dict[str, Floats], int]:
    """Return the resampled scores of each run by its path, all on the same draws, and the number of patients."""
    tests = {run.path: run.test for run in runs if run.test is not None}
    everyone = all_patients(tests.values())
    if not everyone:
        return {}, 0
    column, weights = {patient: k for k, patient in enumerate(everyone)}, draw_weights(everyone)
    return {path: test.score(weights[:, [column[p] for p in test.patients]]) for path, test in tests.items()}, len(everyone)


def _make_row(
    title: str,
    text: str,
    settings: Mapping[str, Any],
    runs: Sequence[LeaderboardRun],
    first: Sequence[LeaderboardRun],
    drawn: Mapping[str, Floats],
) -> LeaderboardRow:
    done = [run for run in runs if run.status == "completed"]
    scores = [run.score for run in done if not math.isnan(run.score)]
    values = [drawn[run.path] for run in done if run.path in drawn]
    behind, tied = (None, False) if runs is first else _compare_with_first(first, runs, drawn)
    return LeaderboardRow(
        title=title,
        text=text,
        settings=settings,
        runs=tuple(runs),
        score=_mean(scores),
        spread=max(scores) - min(scores) if len(scores) > 1 else math.nan,
        interval=confidence_interval(np.mean(values, axis=0)) if values and len(values) == len(done) else None,
        behind=behind,
        tied=tied,
        lowest=_mean(run.lowest for run in done),
        lowest_sites=tuple(sorted({run.lowest_site for run in done if run.lowest_site})),
        personal=_mean(run.personal for run in done),
        shared_on_own=_mean(run.shared_on_own for run in done),
        **{name: _mean(getattr(run, name) for run in done) for name in _COSTS},
    )


def _compare_with_first(
    first: Sequence[LeaderboardRun], other: Sequence[LeaderboardRun], drawn: Mapping[str, Floats]
) -> tuple[Interval | None, bool]:
    """Compare with the first on the seeds that both have: the interval of the difference, and whether they are tied."""
    theirs = {run.seed: run for run in other}
    pairs = [(run, theirs[run.seed]) for run in first if run.path in drawn and theirs[run.seed].path in drawn]
    if not pairs:
        return None, False
    interval = confidence_interval(np.mean([drawn[b.path] - drawn[a.path] for a, b in pairs], axis=0))
    changes = any(b.score >= a.score for a, b in pairs)
    return interval, changes or (interval is not None and interval[0] <= 0 <= interval[1])


def _mean(values: Any) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan


def _row_as_json(row: LeaderboardRow) -> dict[str, Any]:
    return {
        "strategy": row.text,
        "settings": dict(row.settings),
        "score": row.score,
        "spread": row.spread,
        "interval": row.interval,
        "behind": row.behind,
        "tied": row.tied,
        "lowest": row.lowest,
        "lowest-sites": row.lowest_sites,
        "personal": row.personal,
        "shared-at-home": row.shared_on_own,
        "steps": row.steps,
        "rounds": row.rounds,
        "seconds": row.seconds,
        "bytes-up": row.bytes_up,
        "bytes-down": row.bytes_down,
        "bytes-up-per-round": row.round_bytes[0],
        "bytes-down-per-round": row.round_bytes[1],
        "seeds-done": len(row.completed_runs),
        "runs": [_run_as_json(run) for run in row.runs],
    }


def _run_as_json(run: LeaderboardRun) -> dict[str, Any]:
    return {
        "seed": run.seed,
        "status": run.status,
        "reason": run.reason,
        "path": run.path,
        "score": run.score,
        "lowest": run.lowest,
        "lowest-site": run.lowest_site,
        "personal": run.personal,
        "shared-at-home": run.shared_on_own,
        "lacks-layers": run.lacks_layers,
        "rounds": run.rounds,
        "steps": run.steps,
        "seconds": run.seconds,
        "bytes-up": run.bytes_up,
        "bytes-down": run.bytes_down,
    }
