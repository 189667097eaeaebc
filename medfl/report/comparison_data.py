"""Data of the page of a comparison, read from its folder into frozen objects. Nothing here draws or words anything."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medfl.errors import RunError
from medfl.evaluation.bootstrap import Interval
from medfl.report.charts import COLOURS, DASHES
from medfl.report.comparison_patients import ArmTest, read_arm_tests
from medfl.report.report_data import ArmHistory, ReportData, read_report_data
from medfl.runs.history import read_history
from medfl.study import Study

COMPARISON_FILE, PATIENTS_FILE, PAGE_FILE = "comparison.json", "patients.csv", "comparison.html"  # in its folder


@dataclass(frozen=True)
class ArmRecord:
    """An arm as ``comparison.json`` has it.

    Parameters
    ----------
    title : str
        Arm and strategy.
    seeds, patients : int
        Over how many seeds and test patients its score is.
    score : float
        Its score, nan where it is not defined.
    interval : (float, float), optional
        The 95 % interval over patients.
    steps, samples, bytes : int
        Work and messages of one seed.
    more : mapping
        Whatever else the file says of it.
    """

    title: str
    seeds: int
    patients: int
    score: float
    interval: Interval | None
    steps: int
    samples: int
    bytes: int
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def arm(self) -> str:
        """The arm alone."""
        return self.title.partition(" ")[0]


@dataclass(frozen=True)
class DifferenceRecord:
    """Score of one arm minus that of another as ``comparison.json`` has it, with whatever else the file says of it."""

    first: str
    second: str
    difference: float
    interval: Interval | None
    p_value: float | None
    verdict: str
    more: Mapping[str, Any] = field(default_factory=dict)


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
    runs : tuple of ComparisonRun
        Runs that completed.
    tests : mapping of str to sequence of ArmTest
        Scores of the test patients by the title of the arm, one for each seed.
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
        tested = {hospital for tests in self.tests.values() for test in tests for hospital in test.by_hospital}
        return tuple(sorted(tested - self.external))

    @property
    def federated(self) -> ArmRecord | None:
        """The first federated arm that was named: what the answer is about, so that it is not picked by its result."""
        return next((each for each in self.arms if each.arm == "federated"), None)

    def against(self, arm: str) -> DifferenceRecord | None:
        """Return the difference of the first federated arm to the arm of this title."""
        first = self.federated.title if self.federated else ""
        return next((each for each in self.differences if (each.first, each.second) == (first, arm)), None)

    def histories(self, arm: ArmRecord) -> list[ArmHistory]:
        """Return what the runs of an arm did round by round, one for each seed."""
        return [run.data.arms[arm.arm] for run in self.runs if run.title(arm.arm) == arm.title and arm.arm in run.data.arms]

    def style(self, title: str) -> int:
        """Return the style of the lines of an arm: its own colour and, for grey print, its own dashes."""
        place = next((k for k, each in enumerate(self.arms) if each.title == title), len(self.arms))
        return place % COLOURS + COLOURS * (place % DASHES)


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
            arms=tuple(map(_read_arm, record["arms"])),
            differences=tuple(map(_read_difference, record["differences"])),
            failed=tuple(map(str, record.get("failed") or ())),
            runs=runs,
            tests=read_arm_tests(folder / PATIENTS_FILE, study),
            external=frozenset(getattr(study.evaluation, "external", ())),
            digests={name: _digest(folder / name) for name in (COMPARISON_FILE, PATIENTS_FILE)},
            data_digests=_data_digests(folder / runs[0].path),
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        what = f"the files of the comparison {folder.name!r} cannot be read, or are of another version."
        raise RunError("COMPARISON-DAMAGED", what, f"Write them again with 'medfl resume {folder}'.") from None


def _read_arm(record: Mapping[str, Any]) -> ArmRecord:
    known = {name: int(record[name]) for name in ("seeds", "patients", "steps", "samples", "bytes")}
    score, interval = _to_float(record["score"]), _to_interval(record["interval"])
    more = {key: value for key, value in record.items() if key not in {*known, "title", "score", "interval"}}
    return ArmRecord(title=str(record["title"]), score=score, interval=interval, more=more, **known)


def _read_difference(record: Mapping[str, Any]) -> DifferenceRecord:
    names = {name: str(record[name]) for name in ("first", "second", "verdict")}
    p_value = record["p_value"]
    numbers = {"difference", "interval", "p_value"}
    return DifferenceRecord(
        difference=_to_float(record["difference"]),
        interval=_to_interval(record["interval"]),
        p_value=None if p_value is None else float(p_value),
        more={key: value for key, value in record.items() if key not in {*names, *numbers}},
        **names,
    )


def _to_float(value: Any) -> float:
    return math.nan if value is None else float(value)


def _to_interval(value: Any) -> Interval | None:
    return None if value is None else (float(value[0]), float(value[1]))


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _data_digests(run: Path) -> dict[str, str]:
    joined = (event for event in read_history(run) if event["event"] == "joined")
    told = {str(event["site"]): (event.get("simulated") or {}).get("data") for event in joined}
    return {site: str(digest) for site, digest in sorted(told.items()) if digest}
