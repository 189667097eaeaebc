"""One run of a leaderboard, read from its folder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medfl.errors import RunError
from medfl.evaluation.arm_comparison import Lowest
from medfl.evaluation.bootstrap import PatientScores, read_patient_scores
from medfl.messages.records import EVAL_PATIENTS, TRAIN_STEPS, Metrics
from medfl.metrics import class_keys, headline, merge
from medfl.metrics.keys import HIDDEN, hidden_key
from medfl.report.report_data import ReportData, read_report_data
from medfl.report.round_contributions import to_float
from medfl.report.verdict import test_score
from medfl.runs.history import Event, read_history
from medfl.simulation.strategy_specs import LOCAL
from medfl.simulation.sweep_runner import NOT_RUN, PlannedRun, RunResult
from medfl.study import Study

_MAX_NAMED_SITES = 2  # hospitals that may have the lowest score, by name


@dataclass(frozen=True)
class LeaderboardRun:
    """One run of a leaderboard; nan where nothing is known.

    Parameters
    ----------
    seed : int
        Seed of the study.
    status : str
        "completed", "failed", or "not run".
    reason : str
        Reason of a failure.
    path : str
        Its folder, relative to that of the sweep; empty when there is none.
    score, lowest, personal, shared_on_own
        Scores as in `LeaderboardRow`.
    lowest_site : str
        The hospital with the score `lowest`; several where the bins of an AUROC do not tell which has it.
    lacks_layers : bool
        Whether layers stay at the hospitals, which the shared model lacks.
    rounds, steps : int
        Rounds that were done, and local steps of all hospitals together.
    seconds, bytes_up, bytes_down : float
        Time and bytes of all rounds, those down with `start_bytes`.
    start_bytes : float
        Bytes of a first model that was sent whole, as hospitals joined.
    test : PatientScores or None
        Test scores of the shared model by patient; None if a policy hides any of them.
    """

    seed: int
    status: str
    reason: str = ""
    path: str = ""
    score: float = math.nan
    lowest: float = math.nan
    lowest_site: str = ""
    personal: float = math.nan
    shared_on_own: float = math.nan
    lacks_layers: bool = False
    rounds: int = 0
    steps: int = 0
    seconds: float = math.nan
    bytes_up: float = math.nan
    bytes_down: float = math.nan
    start_bytes: float = math.nan
    test: PatientScores | None = field(default=None, repr=False, compare=False)


def read_leaderboard_run(planned: PlannedRun, result: RunResult | None, folder: Path) -> LeaderboardRun:
    """Read one run.

    Parameters
    ----------
    planned : PlannedRun
        The run as it was planned.
    result : RunResult or None
        Result of the run; None before its turn.
    folder : Path
        Folder of the sweep.
    """
    if result is None:
        return LeaderboardRun(planned.seed, NOT_RUN)
    path = str(result.run.relative_to(folder)) if result.run.is_dir() else ""
    if result.status != "completed":
        return LeaderboardRun(planned.seed, result.status, result.reason, path)
    try:
        return _read_completed(planned.seed, result.run, path, alone=planned.spec.name == LOCAL)
    except RunError as error:
        return LeaderboardRun(planned.seed, "failed", str(error), path)


def _read_completed(seed: int, run: Path, path: str, *, alone: bool) -> LeaderboardRun:
    data, events = read_report_data(run), read_history(run)
    study = data.study
    arm = data.arms.get("local" if alone else "federated")
    rounds = arm.rounds if arm else ()
    score, lowest, personal, shared = _local_scores(data, events) if alone else _federated_scores(data)
    hidden = alone or any(_is_hidden(study, t.metrics) for t in data.site_tests)
    test = None if hidden else read_patient_scores(run, study)
    return LeaderboardRun(
        seed,
        "completed",
        "",
        path,
        score if test is None else _exact_score(test),
        lowest.score if lowest else math.nan,
        " or ".join(lowest.sites) if lowest and len(lowest.sites) <= _MAX_NAMED_SITES else "several" if lowest else "",
        personal,
        shared,
        rounds=len(rounds),
        lacks_layers=not alone and bool(study.local_layers),
        steps=_count_steps([e for e in events if e.get("arm", "federated") == ("local" if alone else "federated")])
        + study.personal.fine_tune_steps * len(data.personal_tests),
        seconds=math.fsum(done.seconds for done in rounds),
        bytes_up=0.0 if alone else math.fsum(done.bytes_up for done in rounds),  # a real hospital would keep its model
        bytes_down=0.0 if alone else math.fsum((data.start_bytes, *(done.bytes_down for done in rounds))),
        start_bytes=0.0 if alone else data.start_bytes,
        test=test,
    )


def _exact_score(test: PatientScores) -> float:
    """Return the score of the single patients, which an AUROC from bins may miss by its error."""
    return float(test.score(np.ones((1, len(test.patients))))[0])


def _federated_scores(data: ReportData) -> tuple[float, Lowest | None, float, float]:
    """Return the scores of a run with a shared model.

    They are its score on all test patients, the hospital with the lowest score and that score, and the scores of the
    personal models and of the shared one on the own patients of the hospitals that have a personal model.
    """
    study, shared = data.study, {tested.site: tested for tested in data.site_tests}
    personal = [t for t in data.personal_tests if t.site in shared and t.patients]
    return (
        test_score(data, data.overall_test),
        data.comparison.federated_lowest,
        _own_patients_score(study, [t.metrics for t in personal]),
        _own_patients_score(study, [shared[t.site].metrics for t in personal]),
    )


def _local_scores(data: ReportData, events: Sequence[Event]) -> tuple[float, Lowest | None, float, float]:
    """Return the same for hospitals that trained alone; their score is the mean over their models."""
    study = data.study
    tests = {str(e["model"]["site"]): e["sites"] for e in events if e["event"] == "test" and e["arm"] == "local"}
    metrics = {owner: {site: a["metrics"] for site, a in sites.items()} for owner, sites in tests.items()}
    scores = [headline(study, merge(study, list(answers.values()))) for answers in metrics.values()]
    personal = [answers[owner] for owner, answers in metrics.items() if owner in answers]
    mean = math.fsum(scores) / len(scores) if scores else math.nan
    return mean, data.comparison.local_lowest, _own_patients_score(study, personal), math.nan


def _own_patients_score(study: Study, tests: Sequence[Metrics]) -> float:
    """Return the score of models on the patients of one hospital each.

    Dice is a mean over patients in any case; an AUROC is taken at each hospital, and the mean is weighted by patients, as the
    answers of several models are on different scales.
    """
    if not tests or study.task.kind == "segmentation":
        return headline(study, merge(study, tests)) if tests else math.nan
    pairs = [(to_float(m[EVAL_PATIENTS]), headline(study, merge(study, [m]))) for m in tests]
    defined = [(patients, score) for patients, score in pairs if not math.isnan(score)]
    total = math.fsum(patients for patients, _ in defined)
    return math.fsum(patients * score for patients, score in defined) / total if total else math.nan


def _count_steps(events: Sequence[Event]) -> int:
    """Return the optimizer steps of all hospitals, also those of replies that did not count: they were taken."""
    rounds = [e for e in events if e["event"] == "round"]
    steps = [to_float((a.get("metrics") or {}).get(TRAIN_STEPS)) for e in rounds for a in (e.get("sites") or {}).values()]
    return int(math.fsum(count for count in steps if not math.isnan(count)))


def _is_hidden(study: Study, metrics: Mapping[str, object]) -> bool:
    keys = [HIDDEN, *(hidden_key("scores", key) for key in class_keys(study.task.foreground))]
    return any(metrics.get(key) for key in keys)
