"""Rows of the tables of a run: its rounds, its scores, and the results on single patients."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from medfl.evaluation.patient_results import Patient, read_patient_results
from medfl.metrics import class_key
from medfl.report.report_data import ReportData
from medfl.report.site_tests import SiteTest, personal_test_event, read_overall_test, read_site_tests
from medfl.runs.history import Event
from medfl.runs.run_folder import Run
from medfl.study import Study
from medfl.study.arms import OWN_MODEL_ARMS

Row = dict[str, Any]

ROUND_COLUMNS = ("arm", "round", "score", "loss", "seconds", "bytes_up", "bytes_down", "answered", "asked")
SCORE_COLUMNS = ("arm", "owner", "split", "round", "site", "patients", "class", "metric", "value", "partial")
PATIENT_COLUMNS = ("owner", "site", "patient", "truth", "class", "metric", "value")

_CLASS = "eval.scores-hidden."  # begins the key of each class
_MADE_OF = {"calibration-error": "calibration", **dict.fromkeys(("hd95", "surface-dice"), "surface")} | dict.fromkeys(
    ("accuracy", "balanced-accuracy", "sensitivity", "specificity"), "confusion"
)  # what a policy hides of all classes together, by the metrics that are made of it
_NO_OWNER = ""  # the model that all share


def round_rows(data: ReportData) -> Iterator[Row]:
    """Yield one row for each round of each arm."""
    for arm in data.arms.values():
        for summary in arm.rounds:
            yield {"round": summary.number} | {name: getattr(summary, name) for name in ROUND_COLUMNS if name != "round"}


def score_rows(study: Study, events: Sequence[Event]) -> Iterator[Row]:
    """Yield one row for each score: of an arm, a model, a split, a site or all of them, a class or all of them.

    Parameters
    ----------
    study : Study
        What was run.
    events : sequence of dict
        History of the run. After a resumption a round may be there twice: the last one counts.
    """
    validations = {(str(e["arm"]), _scored_round(e), str(e["event"])): e for e in events if e["event"] in ("round", "scored")}
    for (arm, model_round, _), event in validations.items():
        yield from _rows_of_event(study, event, arm, "validation", model_round, own_models=arm in OWN_MODEL_ARMS)
    for event in (e for e in events if e["event"] == "test"):
        arm, model = str(event["arm"]), event["model"]
        number = int(model.get("round", 0))
        yield from _rows_of_event(study, event, arm, "test", number, owner=str(model.get("site", _NO_OWNER)))
        yield from _rows_of_event(study, personal_test_event(event), arm, "test", number, own_models=True)


def patient_rows(run: Run) -> Iterator[Row]:
    """Yield one row for each result of a test patient, of the shared model and of each site's personal one."""
    rows = _classified_rows if run.study.task.kind == "classification" else _segmented_rows
    for personal in (False, True):
        for (site, patient), result in read_patient_results(run.path, personal=personal).items():
            yield from rows((site, patient), site if personal else _NO_OWNER, result)


def _scored_round(event: Event) -> int:
    """Return the round of the model that an event scores: sites score the model that they receive before they train it."""
    number = int(event["round"])
    return number - 1 if event["event"] == "round" else number


def _rows_of_event(
    study: Study, event: Event, arm: str, split: str, model_round: int, owner: str = _NO_OWNER, *, own_models: bool = False
) -> Iterator[Row]:
    tests = read_site_tests(study, event)
    overall = None if own_models else read_overall_test(study, event, tests)
    for test in (*tests, *([overall] if overall else [])):
        about = {"arm": arm, "owner": test.site if own_models else owner, "split": split, "round": model_round}
        behind = (test, *tests) if test is overall else (test,)
        yield from ({**about, **row} for row in _rows_of_test(study, test, behind))


def _rows_of_test(study: Study, test: SiteTest, behind: Sequence[SiteTest]) -> Iterator[Row]:
    classes = {class_key(name): name for name in study.task.foreground}
    for key, value in test.derived.items() if test.patients else ():
        metric, _, of_class = key.partition(".")
        yield {
            "site": test.site,
            "patients": test.patients,
            "class": classes.get(of_class, of_class),
            "metric": metric,
            "value": value,
            "partial": any(_is_partial(each, metric, of_class) for each in behind),
        }


def _is_partial(test: SiteTest, metric: str, of_class: str) -> bool:
    """Return whether a policy hides a part of what a score is made of."""
    of_classes = (of_class,) if of_class else [key.removeprefix(_CLASS) for key in test.metrics if key.startswith(_CLASS)]
    whats = ("", f"{_MADE_OF.get(metric, metric)}-hidden")
    return any(map(test.is_hidden, whats)) or any(
        test.is_hidden(f"{part}-hidden.{key}") for key in of_classes for part in ("scores", metric)
    )


def _segmented_rows(patient: Patient, owner: str, result: Mapping[str, Any]) -> Iterator[Row]:
    site, name = patient
    for of_class, scores in result["classes"].items():
        for metric, value in scores.items():
            number = math.nan if value is None else float(value)
            yield {"owner": owner, "site": site, "patient": name, "class": of_class, "metric": metric, "value": number}


def _classified_rows(patient: Patient, owner: str, result: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    site, name = patient
    for unit in result:
        for of_class, value in unit["probabilities"].items():
            about = {"owner": owner, "site": site, "patient": name, "truth": unit["truth"]}
            yield {**about, "class": of_class, "metric": "probability", "value": value}
