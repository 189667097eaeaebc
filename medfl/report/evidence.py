"""Tables of how a result came about: what was used and left out, the rounds, what went wrong, settings and versions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from medfl.report.codes import meaning
from medfl.report.model import ReportData, RoundDone, SiteJoined
from medfl.report.tables import Cell, Row, Table
from medfl.report.words import duration, reason_in_words, score, size

_SPLITS = ("train", "validation", "test")
_ARMS = {"federated": "together", "local": "alone"}
_PRIVATE = ("data", "out", "store")  # of the table simulation: folders of the machine that ran it


def used_table(data: ReportData) -> Table | None:
    """Return how many patients each hospital gave to each split, and how many cases were left out."""
    if not data.joined:
        return None
    rows = [_used(site.name, site) for _, site in sorted(data.joined.items())]
    if len(rows) > 1:
        rows.append(_used_sum(list(data.joined.values())))
    return Table(("Hospital", "Training", "Validation", "Test", "Left out, cases"), tuple(rows))


def code_table(data: ReportData, counts_of: Callable[[SiteJoined], Mapping[str, int]]) -> Table | None:
    """Return one row a code: what it means, how many cases it concerns, and where."""
    counts = {site.name: counts_of(site) for _, site in sorted(data.joined.items())}
    codes = sorted(
        {code for told in counts.values() for code in told}, key=lambda c: (-sum(t.get(c, 0) for t in counts.values()), c)
    )
    if not codes:
        return None
    rows = []
    for code in codes:
        where = ", ".join(f"{site} {told[code]}" for site, told in counts.items() if told.get(code))
        total = sum(told.get(code, 0) for told in counts.values())
        rows.append(Row(code, (Cell(meaning(code), "text"), Cell(str(total)), Cell(where, "text")), css="code"))
    return Table(("Code", "In plain words", "Cases", "Where"), tuple(rows))


def trouble_table(data: ReportData) -> Table | None:
    """Return every answer that did not count, in the order in which they came."""
    if not data.troubles:
        return None
    rows = []
    for trouble in data.troubles:
        late = trouble.status == "late" and not trouble.reason
        code, words = ("", "It came after the deadline.") if late else reason_in_words(trouble.reason)
        when = f"{trouble.when} ({_ARMS.get(trouble.arm, trouble.arm)})" if trouble.arm and len(data.arms) > 1 else trouble.when
        cells = (Cell(trouble.site, "text"), Cell(trouble.status, "text"), Cell(words, "text"), Cell(code, "text code"))
        rows.append(Row(when, cells))
    return Table(("When", "Hospital", "Answer", "Reason", "Code"), tuple(rows))


def rounds_table(data: ReportData) -> Table | None:
    """Return what each round of each arm took and gave."""
    done = [r for arm in data.arms.values() for r in arm.rounds]
    if not done:
        return None
    rows = tuple(_round(r, data) for r in done)
    sums = [_total([getattr(r, name) for r in done]) for name in ("seconds", "bytes_down", "bytes_up")]
    total = (Cell(""), Cell(""), Cell(""), Cell(duration(sums[0])), Cell(size(sums[1])), Cell(size(sums[2])))
    columns = ("Round", "Answered", "Training loss", "Validation score", "Time", "Sent to hospitals", "Received")
    return Table(columns, (*rows, Row("In all", total, css="total")))


def settings(data: ReportData) -> list[tuple[str, str]]:
    """Return every setting of the study, spelled as in its file; folders of the machine are left out."""
    values = data.study.model_dump(mode="json", by_alias=True)
    simulation = {key: value for key, value in values["simulation"].items() if key not in _PRIVATE}
    return list(_flat("", values | {"simulation": simulation}))


def versions(data: ReportData) -> list[tuple[str, str]]:
    """Return what software and machine the run used."""
    told = [(str(name), str(version)) for name, version in (data.about.get("versions") or {}).items()]
    return told + [(f"machine: {key}", str(value)) for key, value in data.machine.items()]


def _used(name: str, site: SiteJoined) -> Row:
    cells = [_both(site.patients[split], site.cases[split]) for split in _SPLITS]
    return Row(name, (*cells, Cell(str(sum(site.excluded.values())))))


def _used_sum(sites: list[SiteJoined]) -> Row:
    cells = [_both(sum(s.patients[split] for s in sites), sum(s.cases[split] for s in sites)) for split in _SPLITS]
    left_out = sum(sum(site.excluded.values()) for site in sites)
    return Row("All hospitals", (*cells, Cell(str(left_out))), css="total")


def _both(patients: int, cases: int) -> Cell:
    return Cell(f"{patients}" if patients == cases or not cases else f"{patients} ({cases} images)")


def _round(done: RoundDone, data: ReportData) -> Row:
    several = len(data.arms) > 1
    head = f"{done.number}, {_ARMS.get(done.arm, done.arm)}" if several else str(done.number)
    answered = Cell(f"{done.answered} of {done.asked}", "num" if done.answered == done.asked else "num warn")
    cells = (Cell(score(done.loss)), Cell(score(done.score)), Cell(duration(done.seconds)))
    best = done.arm == "federated" and done.number == data.best_round
    return Row(head, (answered, *cells, Cell(size(done.bytes_down)), Cell(size(done.bytes_up))), mark="chosen" if best else "")


def _total(values: list[float]) -> float:
    told = [value for value in values if not math.isnan(value)]
    return math.fsum(told) if told else math.nan


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", ", ".join(map(str, value)) if isinstance(value, list) else str(value)
