"""Arms of a comparison, as the runs left them: their work, and the scores of their test patients."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medfl.evaluation.bootstrap import PatientScores, as_patient_scores
from medfl.evaluation.external_scores import read_external_scores
from medfl.evaluation.patient_results import (
    Patient,
    read_external_results,
    read_patient_results,
    read_results_elsewhere,
)
from medfl.messages.records import TRAIN_SAMPLES, TRAIN_STEPS
from medfl.runs.history import Event, read_history, sum_start_bytes
from medfl.simulation.strategy_specs import LOCAL
from medfl.simulation.sweep_runner import RunResult
from medfl.study import Study
from medfl.study.arms import ARM_NEEDS, OWN_MODEL_ARMS

ELSEWHERE = "local elsewhere"  # each hospital's patients, by the models of the others: no arm of a run, but of a comparison

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class ArmRun:
    """One arm of one run.

    Parameters
    ----------
    arm : str
        One of `medfl.study.arms.ARMS`, or `ELSEWHERE`.
    strategy : str
        Specification of the strategy; empty without one.
    seed : int
        Seed of the study.
    steps, samples : int
        Optimizer steps, and passes through training cases, of all hospitals, with those of the arm that it begins with.
    bytes : int
        Sent both ways, likewise; 0 where nothing need be sent.
    test : PatientScores
        Scores of the test patients.
    more_tests : tuple of PatientScores
        Scores of the same patients by further models; the arm's score is the mean over the models.
    external : tuple of PatientScores
        Scores of the patients of external hospitals by each model of the arm, if the study has some.
    """

    arm: str
    strategy: str
    seed: int
    steps: int
    samples: int
    bytes: int
    test: PatientScores
    more_tests: tuple[PatientScores, ...] = ()
    external: tuple[PatientScores, ...] = ()

    @property
    def tests(self) -> tuple[PatientScores, ...]:
        """The scores by all models of the arm, all of the same patients."""
        return (self.test, *self.more_tests)

    @property
    def title(self) -> str:
        """Arm and strategy, which name it beside others."""
        return f"{self.arm} {self.strategy}".strip()


def read_arm_runs(results: Iterable[RunResult], study: Study) -> Iterator[tuple[ArmRun, list[Row]]]:
    """Yield each arm of the completed runs, with one row for each test patient and class.

    Raises
    ------
    RunError
        When a history or a file of test scores cannot be read.
    """
    for result in (each for each in results if each.status == "completed"):
        spec, seed, events = result.planned.spec, result.planned.seed, read_history(result.run)
        strategy = "" if spec.name == LOCAL else spec.text
        for arm in result.planned.simulation.study.arms:
            for name, found in _read_tests(result.run, arm, study.evaluation.external):
                head = {"arm": name, "strategy": strategy, "seed": seed}
                test, *more = (as_patient_scores(of_all, study) for of_all, _ in found)
                rows = [
                    head | {"model": owners.get(patient[0], ""), "external": ""} | row
                    for of_all, owners in found
                    for patient, of_one in of_all.items()
                    for row in _patient_rows(patient, of_one, study)
                ]
                external = read_external_scores(result.run, study, name)
                rows += [head | row for row in _external_rows(result.run, name, study)]
                yield ArmRun(name, strategy, seed, *_work_of(events, arm), test, tuple(more), external), rows


def _external_rows(run: Path, arm: str, study: Study) -> Iterator[Row]:
    """Yield the rows of the patients of external hospitals, once for each model of the arm."""
    for owner, results in read_external_results(run, arm, study.evaluation.external).items():
        for patient, result in results.items():
            yield from ({"model": owner, "external": "yes"} | row for row in _patient_rows(patient, result, study))


def _read_tests(
    run: Path, arm: str, external: Collection[str]
) -> Iterator[tuple[str, list[tuple[dict[Patient, Any], dict[str, str]]]]]:
    """Yield an arm, and what goes with it: results of the test patients, each with whose model it is by hospital."""
    if scored := read_patient_results(run, arm=arm, external=external):
        yield arm, [(scored, {site: site for site, _ in scored} if arm in OWN_MODEL_ARMS else {})]
    if arm == "local" and (elsewhere := [found for found in read_results_elsewhere(run, external) if found[0]]):
        yield ELSEWHERE, elsewhere


def _work_of(events: Sequence[Event], arm: str) -> tuple[int, int, int]:
    """Return steps, passes through cases, and bytes of an arm, with those of the arm that it begins with."""
    rounds = [event for event in events if event["event"] == "round" and event["arm"] == arm]
    tests = [event for event in events if event["event"] == "test" and event["arm"] == arm]
    exchanged = rounds if arm == "federated" else tests if arm == "ensemble" else []  # a test tells what an ensemble would send
    sent = sum(event.get("bytes-up", 0) + event.get("bytes-down", 0) for event in exchanged)
    sent += sum_start_bytes(events) if arm == "federated" else 0
    steps, samples, before = _sum_of(rounds, TRAIN_STEPS), _sum_of(rounds, TRAIN_SAMPLES), (0, 0, 0)
    if arm in ARM_NEEDS:
        before = _work_of(events, ARM_NEEDS[arm])
    return steps + before[0], samples + before[1], sent + before[2]


def _sum_of(rounds: Iterable[Event], key: str) -> int:
    return sum(int((answer.get("metrics") or {}).get(key) or 0) for event in rounds for answer in event["sites"].values())


def _patient_rows(patient: Patient, result: Any, study: Study) -> Iterator[Row]:
    """Yield the Dice of each class, or the probability of each class with whether it is the true one."""
    where = {"hospital": patient[0], "patient": patient[1]}
    if study.task.kind == "segmentation":
        for name in study.task.foreground:
            yield where | {"class": name, "truth": "", "value": result["classes"].get(name, {}).get("dice")}
        return
    for unit in result:
        for name in study.task.classes:
            yield where | {"class": name, "truth": int(unit["truth"] == name), "value": unit["probabilities"][name]}
