"""Data of the page of a comparison, read from its folder into frozen objects. Nothing here draws or words anything."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from medfl.errors import RunError
from medfl.evaluation.bootstrap import Interval
from medfl.evaluation.calibration import Calibration
from medfl.evaluation.effect_size import EffectSize
from medfl.evaluation.hospital_scores import HospitalScore
from medfl.evaluation.patients_needed import PatientsNeeded
from medfl.evaluation.subgroup_scores import SubgroupScore
from medfl.report.charts import COLOURS, DASHES
from medfl.report.comparison_patients import ArmTest, read_arm_tests
from medfl.report.report_data import ArmHistory, ReportData, read_report_data
from medfl.runs.history import read_history
from medfl.study import Study

COMPARISON_FILE, PATIENTS_FILE, PAGE_FILE = "comparison.json", "patients.csv", "comparison.html"  # in its folder
_NEVER_NONE = {
    "score",
    "difference",
    "value",
    "ece",
    "ece_if_calibrated",
    "brier",
}  # keys whose number is nan where it is not known


@dataclass(frozen=True)
class ArmRecord:
    """What the page shows of an `medfl.evaluation.strategy_comparison.ArmSummary`; what a file lacks is not known."""

    title: str
    arm: str
    strategy: str
    seeds: int
    patients: int
    score: float
    interval: Interval | None
    steps: int
    samples: int
    bytes: int
    seed_sd: float | None = None
    hospitals: tuple[HospitalScore, ...] = ()
    lowest_hospital: HospitalScore | None = None
    calibration: Calibration | None = None
    subgroups: tuple[SubgroupScore, ...] = ()


@dataclass(frozen=True)
class DifferenceRecord:
    """What the page shows of an `medfl.evaluation.arm_differences.ArmDifference`; what a file lacks is not known."""

    first: str
    second: str
    difference: float
    interval: Interval | None
    p_value: float | None
    verdict: str
    effect: EffectSize | None = None
    needed: PatientsNeeded | None = None
    margin: float | None = None
    not_inferior: bool | None = None


@dataclass(frozen=True)
class ComparisonRun:
    """One completed run: its strategy (empty for the arms that have none), its seed, its folder, and its report's data."""

    strategy: str
    seed: int
    path: str
    data: ReportData

    def title(self, arm: str) -> str:
        """Return arm and strategy, which name an arm of this run beside others."""
        return f"{arm} {self.strategy}".strip()


@dataclass(frozen=True)
class ComparisonData:
    """Everything that the page of a comparison shows.

    Parameters
    ----------
    folder : Path
        Folder of the comparison.
    study : Study
        That of its first run.
    seeds : tuple of int
        Seeds that were planned.
    arms, differences : tuple
        Table of the comparison.
    failed : tuple of str
        Runs that failed, and why.
    left_out : tuple of str
        Arms of a seed, and patients, that count nowhere, and why.
    runs : tuple of ComparisonRun
        Runs that completed.
    tests : mapping of str to sequence of ArmTest
        Scores of the test patients by the title of the arm, of each seed and model.
    external : frozenset of str
        Hospitals that took no part in training.
    digests : mapping of str to str
        SHA-256 of the comparison's files by their names.
    data_digests : mapping of str to str
        Digest of the images of each hospital.
    """

    folder: Path
    study: Study
    seeds: tuple[int, ...]
    arms: tuple[ArmRecord, ...]
    differences: tuple[DifferenceRecord, ...]
    failed: tuple[str, ...]
    left_out: tuple[str, ...]
    runs: tuple[ComparisonRun, ...]
    tests: Mapping[str, Sequence[ArmTest]]
    external: frozenset[str]
    digests: Mapping[str, str]
    data_digests: Mapping[str, str]

    @property
    def score_name(self) -> str:
        """Name of the score of the study."""
        return "Dice" if self.study.task.kind == "segmentation" else "AUROC"

    @property
    def hospitals(self) -> tuple[str, ...]:
        """Hospitals whose patients are in the scores, in the order of their names."""
        return tuple(sorted({each.hospital for arm in self.arms for each in arm.hospitals} - self.external))

    @property
    def federated(self) -> ArmRecord | None:
        """The first federated arm that was named: what the answer is about, so that it is not picked by its result."""
        return next((each for each in self.arms if each.arm == "federated"), None)

    @property
    def answers(self) -> tuple[DifferenceRecord, ...]:
        """Differences of the first federated arm to the others."""
        return tuple(each for each in self.differences if self.federated and each.first == self.federated.title)

    def arm_of(self, title: str) -> str:
        """Return the arm of a title."""
        return next((each.arm for each in self.arms if each.title == title), "")

    def against(self, arm: str) -> DifferenceRecord | None:
        """Return the difference of the first federated arm to an arm."""
        return next((each for each in self.answers if self.arm_of(each.second) == arm), None)

    def histories(self, arm: ArmRecord) -> list[ArmHistory]:
        """Return what the runs of an arm did round by round, one for each seed."""
        return [run.arms[arm.arm] for run in self.runs_of(arm)]

    def runs_of(self, arm: ArmRecord) -> list[ReportData]:
        """Return the runs of an arm, one for each seed."""
        return [run.data for run in self.runs if run.title(arm.arm) == arm.title and arm.arm in run.data.arms]

    def style(self, title: str) -> int:
        """Return the style of the lines of an arm: its own colour and, for grey print, its own dashes."""
        place = next((k for k, each in enumerate(self.arms) if each.title == title), len(self.arms))
        return place % COLOURS + COLOURS * (place % DASHES)


def _arms_with_external(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the arms of a comparison, each with its scores at external hospitals among those at the others."""
    outside = {arm["title"]: arm["hospitals"] for arm in (record.get("external") or {}).get("arms", ())}
    return [arm | {"hospitals": [*arm["hospitals"], *outside.get(arm["title"], ())]} for arm in record["arms"]]


def read_comparison(folder: Path) -> ComparisonData:
    """Read the folder of a comparison.

    Parameters
    ----------
    folder : Path
        The folder with ``comparison.json``, ``patients.csv`` and the runs.

    Raises
    ------
    RunError
        ``COMPARISON-DAMAGED`` when a file is missing, cannot be read, or is of another version; or when a run cannot be read.
    """
    try:
        record = json.loads((folder / COMPARISON_FILE).read_bytes())
        runs = tuple(
            ComparisonRun(str(each["strategy"]), int(each["seed"]), str(each["path"]), read_report_data(folder / each["path"]))
            for each in record["runs"]
        )
        study = runs[0].data.study
        return ComparisonData(
            folder=folder,
            study=study,
            seeds=tuple(map(int, record["seeds"])),
            arms=TypeAdapter(tuple[ArmRecord, ...]).validate_python(_with_nan(_arms_with_external(record))),
            differences=TypeAdapter(tuple[DifferenceRecord, ...]).validate_python(_with_nan(record["differences"])),
            failed=tuple(map(str, record.get("failed") or ())),
            left_out=tuple(map(str, record.get("left_out") or ())),
            runs=runs,
            tests=read_arm_tests(folder / PATIENTS_FILE, study),
            external=frozenset(study.evaluation.external),
            digests={name: _digest(folder / name) for name in (COMPARISON_FILE, PATIENTS_FILE)},
            data_digests=_data_digests(folder / runs[0].path),
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        what = f"the files of the comparison {folder.name!r} cannot be read, or are of another version."
        raise RunError("COMPARISON-DAMAGED", what, f"Write them again with 'medfl resume {folder}'.") from None


def _with_nan(value: Any) -> Any:
    """Return what was read from JSON with nan instead of null where a number is not optional."""
    if isinstance(value, dict):
        return {k: math.nan if v is None and k in _NEVER_NONE else _with_nan(v) for k, v in value.items()}
    return [_with_nan(each) for each in value] if isinstance(value, list) else value


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _data_digests(run: Path) -> dict[str, str]:
    joined = (event for event in read_history(run) if event["event"] == "joined")
    told = {str(event["site"]): (event.get("simulated") or {}).get("data") for event in joined}
    return {site: str(digest) for site, digest in sorted(told.items()) if digest}
