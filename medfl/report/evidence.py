"""Tables of how a result came about: what was used and left out, the rounds, what went wrong, settings and versions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from medfl.messages.counts import at_least, in_words, sum_in_words
from medfl.report.codes import meaning
from medfl.report.model import ReportData, RoundDone, SiteJoined
from medfl.report.tables import Cell, Row, Table
from medfl.report.words import NONE, duration, reason_in_words, score, size

_SPLITS = ("train", "validation", "test")
_ARMS = {"federated": "together", "local": "alone"}
FEW = "more than none, and fewer than the hospital’s policy lets it tell"
_PRIVATE = ("data", "out", "store")  # of the table simulation: folders of the machine that ran it


def used_table(data: ReportData) -> Table | None:
    """Return how many cases each hospital had, how many were left out, and how many patients it gave to each split."""
    if not data.joined:
        return None
    rows = [_used(site.name, site) for _, site in sorted(data.joined.items())]
    if len(rows) > 1:
        rows.append(_used_sum(list(data.joined.values())))
    return Table(("Hospital", "Cases found", "Left out", "Used", "Training", "Validation", "Test"), tuple(rows))


def code_table(data: ReportData, counts_of: Callable[[SiteJoined], Mapping[str, int]]) -> Table | None:
    """Return one row a code: what it means, how many cases it concerns, and where."""
    counts = {site.name: counts_of(site) for _, site in sorted(data.joined.items())}
    by_code: dict[str, dict[str, int]] = {}
    for site, told in counts.items():
        for code, count in told.items():
            by_code.setdefault(code, {})[site] = count
    rows = []
    for code, sites in sorted(by_code.items(), key=lambda item: (-at_least(item[1].values()), item[0])):
        where = ", ".join(f"{site} {in_words(count)}" for site, count in sites.items() if count)
        cells = (Cell(meaning(code), "text"), Cell(sum_in_words(sites.values())), Cell(where, "text"))
        rows.append(Row(code, cells, css="code"))
    return Table(("Code", "In plain words", "Cases", "Where"), tuple(rows)) if rows else None


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
    total = (*(Cell("") for _ in range(5)), Cell(duration(sums[0])), Cell(size(sums[1])), Cell(size(sums[2])))
    told = ("Answered", "Training cases", "Left out", "Training loss", "Validation score", "Time")
    columns = ("Round", *told, "Sent to hospitals", "Received")
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
    return _flow(name, [site])


def _used_sum(sites: list[SiteJoined]) -> Row:
    return _flow("All hospitals", sites, css="total")


def _flow(name: str, sites: list[SiteJoined], css: str = "") -> Row:
    """Return one row: from the cases found, over those left out, to the patients of each split."""
    used = [site.cases[split] for site in sites for split in _SPLITS]
    left_out = [count for site in sites for count in site.excluded.values()]
    flow = [sum_in_words(counts) for counts in (used + left_out, left_out, used)]
    splits = [_both([s.patients[split] for s in sites], [s.cases[split] for s in sites]) for split in _SPLITS]
    return Row(name, (*(Cell(text) for text in flow), *splits), css)


def _both(patients: list[int], cases: list[int]) -> Cell:
    people, images = sum_in_words(patients), sum_in_words(cases)
    few = any(count < 0 for count in patients)
    return Cell(people if people == images or not any(cases) else f"{people} ({images} images)", title=FEW if few else "")


def _round(done: RoundDone, data: ReportData) -> Row:
    several = len(data.arms) > 1
    head = f"{done.number}, {_ARMS.get(done.arm, done.arm)}" if several else str(done.number)
    answered = Cell(f"{done.answered} of {done.asked}", "num" if done.answered == done.asked else "num warn")
    left_out = [count for told in done.excluded.values() for count in told.values()]
    used = Cell(sum_in_words(done.used.values()) if done.used else NONE, title=_by_site(done.used))
    out = Cell(sum_in_words(left_out), title=_by_site({site: told for site, told in done.excluded.items() if told}))
    cells = (Cell(score(done.loss)), Cell(score(done.score)), Cell(duration(done.seconds)))
    best = done.arm == "federated" and done.number == data.best_round
    sizes = (Cell(size(done.bytes_down)), Cell(size(done.bytes_up)))
    return Row(head, (answered, used, out, *cells, *sizes), mark="chosen" if best else "")


def _by_site(told: Mapping[str, int | Mapping[str, int]]) -> str:
    """Say in one line what each site told."""

    def words(what: int | Mapping[str, int]) -> str:
        return in_words(what) if isinstance(what, int) else ", ".join(f"{in_words(n)} {code}" for code, n in what.items())

    return "; ".join(f"{site}: {words(what)}" for site, what in sorted(told.items()))


def _total(values: list[float]) -> float:
    told = [value for value in values if not math.isnan(value)]
    return math.fsum(told) if told else math.nan


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", ", ".join(map(str, value)) if isinstance(value, list) else str(value)
