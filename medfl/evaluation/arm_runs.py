"""Arms of a comparison, as the runs left them: their work, and the scores of their test patients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from medfl.evaluation.bootstrap import PatientScores, read_patient_scores
from medfl.evaluation.patient_results import Patient, read_patient_results
from medfl.messages.records import TRAIN_SAMPLES, TRAIN_STEPS
from medfl.runs.history import Event, read_history
from medfl.simulation.strategy_specs import LOCAL
from medfl.simulation.sweep_runner import RunResult
from medfl.study import Study

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class ArmRun:
    """One arm of one run.

    Parameters
    ----------
    arm : str
        "federated", "local" or "pooled".
    strategy : str
        Specification of the strategy; empty without one.
    seed : int
        Seed of the study.
    steps, samples : int
        Optimizer steps, and passes through training cases, of all hospitals together.
    bytes : int
        Sent both ways; 0 where nothing need be sent.
    test : PatientScores
        Scores of the test patients.
    """

    arm: str
    strategy: str
    seed: int
    steps: int
    samples: int
    bytes: int
    test: PatientScores

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
        for arm in result.planned.simulation.study.arms:
            test = read_patient_scores(result.run, study, arm)
            if test is None:
                continue
            rounds = [event for event in events if event["event"] == "round" and event["arm"] == arm]
            sent = sum(e.get("bytes-up", 0) + e.get("bytes-down", 0) for e in rounds) if arm == "federated" else 0
            strategy = "" if spec.name == LOCAL else spec.text
            steps, samples = (_sum_of(rounds, key) for key in (TRAIN_STEPS, TRAIN_SAMPLES))
            run = ArmRun(arm, strategy, seed, steps, samples, sent, test)
            head = {"arm": arm, "strategy": strategy, "seed": seed}
            scored = read_patient_results(result.run, arm=arm)
            yield run, [head | row for patient, of_one in scored.items() for row in _patient_rows(patient, of_one, study)]


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
