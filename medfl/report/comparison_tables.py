"""Tables of the page of a comparison: intervals by hospital, differences, the matrix, single patients, work, runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medfl.evaluation.bootstrap import Interval, PatientScores, read_patient_scores
from medfl.evaluation.hospital_scores import HospitalScore
from medfl.evaluation.patient_results import Patient
from medfl.report.comparison_data import ArmRecord, ComparisonData, DifferenceRecord
from medfl.report.comparison_patients import patient_values
from medfl.report.comparison_words import format_ci, format_p
from medfl.report.formatting import format_difference, format_score
from medfl.report.report_data import ReportData
from medfl.report.tables import Cell, Row, Table
from medfl.study.arms import ARM_NEEDS
from medfl.system.text import NOT_AVAILABLE, format_bytes, format_duration, plural

MOST_HOSPITALS = 12  # that are shown one by one; of more, the worst ten and quantiles
_WORST = 10
_MOST_MODELS = 12  # rows and columns of the matrix
_CASES = 5  # at each end


@dataclass(frozen=True)
class ForestRow:
    """An interval as it is drawn: its name, its place between the ends of the axis in percent, and both in words."""

    title: str
    style: int
    start: float
    width: float
    point: float
    value: str
    reach: str


@dataclass(frozen=True)
class ForestGroup:
    """The arms at one hospital, or all together."""

    title: str
    note: str
    rows: tuple[ForestRow, ...]


@dataclass(frozen=True)
class Forest:
    """Intervals with a common axis."""

    groups: tuple[ForestGroup, ...]
    axis: tuple[str, str]
    zero: float | None = None  # where 0 lies, in percent
    left_out: int = 0


def hospital_forest(data: ComparisonData) -> Forest | None:
    """Return each arm's score with its interval: of all hospitals, then by hospital, those outside the study last."""
    shown, left_out = _shown_hospitals(data)
    found: list[tuple[str, str, list[tuple[str, HospitalScore]]]] = []
    everyone = [(arm.title, HospitalScore("", arm.patients, arm.score, arm.interval, None)) for arm in data.arms]
    found.append(("All hospitals together", _note(everyone), everyone))
    for hospital in (*shown, *sorted(data.external)):
        scored = [(arm.title, each) for arm in data.arms for each in arm.hospitals if each.hospital == hospital]
        if scored:
            name = f"{hospital}, external" if hospital in data.external else hospital
            found.append((name, _note(scored), scored))
    ends = [v for *_, scored in found for _, s in scored for v in (s.score, *(s.interval or ())) if math.isfinite(v)]
    if not ends:
        return None
    low, high = _axis(ends)
    groups = []
    for name, note, scored in found:
        rows = [_row(title, data.style(title), s.score, s.interval, (low, high), signed=False) for title, s in scored]
        groups.append(ForestGroup(name, note, tuple(rows)))
    return Forest(tuple(groups), (f"{low:.2f}", f"{high:.2f}"), left_out=left_out)


def difference_forest(data: ComparisonData) -> Forest | None:
    """Return the differences of arms with their intervals, p-values and verdicts."""
    ends = [v for each in data.differences for v in (each.difference, *(each.interval or ())) if math.isfinite(v)]
    if not ends:
        return None
    low, high = _axis([*ends, 0.0])
    groups = []
    for each in data.differences:
        row = _row("", data.style(each.second), each.difference, each.interval, (low, high), signed=True)
        verdict = each.verdict if each.verdict in ("higher", "lower") else "not known which is higher"
        note = f"{format_p(each.p_value)}; {_effect(each)}{verdict}"
        groups.append(ForestGroup(f"{each.first} minus {each.second}", note, (row,)))
    axis = (format_difference(low), format_difference(high))
    return Forest(tuple(groups), axis, zero=100 * -low / (high - low))


def spread_table(data: ComparisonData) -> Table:
    """Return how much each arm's score changes with the seed and with the hospital."""
    rows = []
    for arm in data.arms:
        lowest = arm.lowest_hospital
        seeds = NOT_AVAILABLE if arm.seed_sd is None else format_score(arm.seed_sd)
        place = f"{format_score(lowest.score)}, {lowest.hospital}" if lowest else NOT_AVAILABLE
        cells = (Cell(seeds), Cell(place), Cell(format_ci(lowest.joint_interval) if lowest else NOT_AVAILABLE))
        rows.append(Row(arm.title, cells))
    return Table(("Arm", "Standard deviation over seeds", "Lowest hospital", "Its joint interval"), tuple(rows))


def subgroup_table(data: ComparisonData) -> Table | None:
    """Return each arm's score on groups of patients; None where the study names no columns for them."""
    found = {(group.column, group.value): group.patients for arm in data.arms for group in arm.subgroups}
    scores = {(arm.title, group.column, group.value): group for arm in data.arms for group in arm.subgroups}
    rows = []
    for (column, value), patients in found.items():
        groups = [scores.get((arm.title, column, value)) for arm in data.arms]
        texts = [f"{format_score(each.score)} ({format_ci(each.interval)})" if each else NOT_AVAILABLE for each in groups]
        rows.append(Row(f"{column}: {value}", (Cell(str(patients), number=patients), *map(Cell, texts))))
    return Table(("Group", "Patients", *(arm.title for arm in data.arms)), tuple(rows)) if rows else None


def quantile_table(data: ComparisonData) -> Table | None:
    """Return the spread of each arm's score over many hospitals; None where they are shown one by one."""
    if len(data.hospitals) <= MOST_HOSPITALS:
        return None
    rows = []
    for arm in data.arms:
        scores = sorted(score for hospital in data.hospitals if math.isfinite(score := _point(arm, hospital)))
        if scores:
            places = [scores[round(share * (len(scores) - 1))] for share in (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)]
            rows.append(Row(arm.title, tuple(Cell(format_score(value), number=value) for value in places)))
    columns = ("Arm", "Lowest", "10 %", "25 %", "Median", "75 %", "90 %", "Highest")
    return Table(columns, tuple(rows)) if rows else None


def model_matrix(data: ComparisonData) -> Table | None:
    """Return the score of every hospital's own model, and of the shared ones, on the patients of every hospital."""
    alone = [run for run in data.runs if "local" in run.data.study.arms]
    owners = sorted(set.intersection(*(set(run.data.comparison.local) for run in alone))) if alone else []
    sites = (*data.hospitals, *sorted(data.external))
    if not owners or not 2 <= len(sites) <= _MOST_MODELS:
        return None
    rows = []
    for owner in owners:
        tests = [test for run in alone if (test := read_patient_scores(data.folder / run.path, data.study, "local", owner))]
        rows.append((f"{owner} alone", [_mean([_score_at_site(test, site) for test in tests]) for site in sites]))
    shared = [arm for arm in data.arms if arm.arm in ("federated", "pooled", "ensemble")]
    rows += [(arm.title, [_point(arm, site) for site in sites]) for arm in shared]
    values = [value for _, row in rows for value in row if math.isfinite(value)]
    low, high = min(values, default=0.0), max(values, default=1.0)
    made = [
        Row(head, tuple(_heat(v, low, high, own=head == f"{site} alone") for site, v in zip(sites, row, strict=True)))
        for head, row in rows
    ]
    return Table(("Model", *(f"{site}’s patients" for site in sites)), tuple(made))


def _score_at_site(test: PatientScores, site: str) -> float:
    return float(test.score(np.array([[float(hospital == site) for hospital, _ in test.patients]]))[0])


def case_tables(data: ComparisonData) -> tuple[Table, Table] | None:
    """Return the patients with the lowest and the highest scores of the first federated arm, beside those of other arms."""
    hospitals = (*data.hospitals, *data.external)
    values = {arm.title: patient_values(data.tests.get(arm.title, ()), hospitals) for arm in data.arms}
    first = data.federated.title if data.federated else next(iter(values), "")
    ranked = sorted(values.get(first) or {}, key=lambda patient: (values[first][patient], patient))
    if not ranked:
        return None
    others = [title for title in values if title != first]
    columns = ("Patient", "Hospital", first, *others)

    def rows_of(patients: Sequence[Patient]) -> tuple[Row, ...]:
        scores = ([_score_cell(values[title].get(patient, math.nan)) for title in (first, *others)] for patient in patients)
        return tuple(
            Row(name, (Cell(hospital, "text"), *of_one)) for (hospital, name), of_one in zip(patients, scores, strict=True)
        )

    count = min(_CASES, len(ranked))
    return Table(columns, rows_of(ranked[:count])), Table(columns, rows_of(ranked[::-1][:count]))


def work_table(data: ComparisonData) -> Table:
    """Return the work, the messages and the time of one seed of each arm, means over the seeds."""
    rows = []
    for arm in data.arms:
        rounds = [history.rounds for history in data.histories(arm)]
        seconds = _mean([math.fsum(done.seconds for done in each) for each in rounds])
        exchanged = [_sent_bytes(run, arm.arm) for run in data.runs_of(arm)]
        up, down = (_mean([sizes[way] for sizes in exchanged]) for way in (0, 1))
        sent = [format_bytes(size) if arm.bytes and math.isfinite(size) else "–" for size in (up, down)]
        count = _mean([len(each) for each in rounds])
        texts = (_whole(count), _whole(arm.steps), _whole(arm.samples), *sent, format_duration(seconds) if seconds else "–")
        rows.append(Row(arm.title, tuple(map(Cell, texts))))
    columns = ("Arm", "Rounds", "Optimiser steps", "Images seen", "From hospitals", "To hospitals", "Time of rounds")
    return Table(columns, tuple(rows))


def _sent_bytes(run: ReportData, arm: str) -> tuple[float, float]:
    """Return the bytes from and to hospitals until an arm had its models; one that begins with the federated sends no more."""
    is_federated = "federated" in (arm, ARM_NEEDS.get(arm))
    rounds = run.arms["federated" if is_federated else arm].rounds
    up, down = (math.fsum(getattr(done, name) for done in rounds) for name in ("bytes_up", "bytes_down"))
    return up, down + run.start_bytes * is_federated


def run_table(data: ComparisonData) -> Table:
    """Return the runs: what each trained, its seed, the hash of its study, and its folder."""
    rows = []
    for run in data.runs:
        arms = ", ".join(run.title(arm) for arm in run.data.study.arms)
        digest = str(run.data.about.get("hash", "unknown"))
        rows.append(Row(arms, (Cell(str(run.seed)), Cell(digest, "text code"), Cell(run.path, "text code"))))
    return Table(("Arms", "Seed", "Hash of the study", "Folder"), tuple(rows))


def _shown_hospitals(data: ComparisonData) -> tuple[tuple[str, ...], int]:
    """Return the hospitals that are shown one by one, and how many are not: of many those where the first arm is lowest."""
    if len(data.hospitals) <= MOST_HOSPITALS:
        return data.hospitals, 0
    first = data.federated or data.arms[0]
    scores = {hospital: _point(first, hospital) for hospital in data.hospitals}
    ranked = sorted((h for h in scores if math.isfinite(scores[h])), key=lambda hospital: (scores[hospital], hospital))
    return tuple(ranked[:_WORST]), len(data.hospitals) - len(ranked[:_WORST])


def _point(arm: ArmRecord, hospital: str) -> float:
    return next((each.score for each in arm.hospitals if each.hospital == hospital), math.nan)


def _effect(each: DifferenceRecord) -> str:
    """Return the effect size where it is not the difference itself."""
    if each.effect is None or each.effect.measure != "rank-biserial":
        return ""
    return f"rank-biserial correlation {format_difference(each.effect.value)}; "


def _note(scored: Sequence[tuple[str, HospitalScore]]) -> str:
    return plural(max((score.patients for _, score in scored), default=0), "test patient")


def _axis(ends: Sequence[float]) -> tuple[float, float]:
    low, high = math.floor(min(ends) * 20) / 20, math.ceil(max(ends) * 20) / 20
    return low, max(high, low + 0.05)


def _row(title: str, style: int, score: float, interval: Interval | None, axis: Interval, *, signed: bool) -> ForestRow:
    def place(value: float) -> float:
        return 100 * (value - axis[0]) / (axis[1] - axis[0])

    form = (lambda value: format_difference(value, 3)) if signed else format_score
    if not math.isfinite(score):
        return ForestRow(title, style, 0, 0, -1, NOT_AVAILABLE, "")
    start, stop = interval or (score, score)
    reach = f"({form(start)} to {form(stop)})" if interval else "(no interval)"
    return ForestRow(title, style, place(start), place(stop) - place(start), place(score), form(score), reach)


def _heat(value: float, low: float, high: float, *, own: bool) -> Cell:
    if math.isnan(value):
        return Cell(NOT_AVAILABLE, "num none")
    heat = (value - low) / (high - low) if high > low else 1.0
    return Cell(format_score(value, 2), "num own" if own else "num", heat, "its own patients" if own else "", value)


def _score_cell(value: float) -> Cell:
    return Cell(format_score(value), "num" if math.isfinite(value) else "num none", number=value)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _whole(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:,.0f}".replace(",", " ")
