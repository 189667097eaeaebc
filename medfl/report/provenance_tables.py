"""Tables of how a result came about: cases used and left out, the rounds, rejected replies, settings and versions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from medfl.errors import explain_code
from medfl.messages.counts import format_count, format_sum, lower_bound
from medfl.report.formatting import format_percent, format_reason, format_score
from medfl.report.rejected_replies import RejectedReply
from medfl.report.report_data import JoinedSite, ReportData, RoundSummary, is_mostly_one
from medfl.report.tables import HIDDEN_NOTE, Cell, Row, Table
from medfl.study.arms import ARM_TITLES
from medfl.system.text import NOT_AVAILABLE, format_bytes, format_duration, join_names, plural

_SPLITS = ("train", "validation", "test")
SUPPRESSED_NOTE = "more than none, and fewer than the hospital’s policy discloses"
_MAX_NAMED = 40  # hospitals in the tooltip of one number
_LOCAL_PATH_KEYS = {"data", "store"}  # of the table simulation: folders of the machine that ran it


def used_table(data: ReportData) -> Table | None:
    """Return how many cases each hospital had, how many were left out, and how many patients it gave to each split.

    External hospitals follow after the sum.
    """
    if not data.joined:
        return None
    rows = [_used_row(site.name, site) for _, site in sorted(data.joined.items())]
    if len(rows) > 1:
        rows.append(_used_total_row(list(data.joined.values())))
    rows += [_used_row(f"{site.name} (external)", site) for _, site in sorted(data.external.items())]
    return Table(("Hospital", "Cases found", "Left out", "Used", "Training", "Validation", "Test"), tuple(rows))


def code_table(
    data: ReportData, counts_of: Callable[[JoinedSite], Mapping[str, int]], *, most_sites: int | None = None
) -> Table | None:
    """Return one row for each code: what it means, how many cases it concerns, and where, of many hospitals where most."""
    counts = {site.name: counts_of(site) for _, site in sorted({**data.joined, **data.external}.items())}
    by_code: dict[str, dict[str, int]] = {}
    for site, by_site in counts.items():
        for code, count in by_site.items():
            by_code.setdefault(code, {})[site] = count
    rows = []
    for code, sites in sorted(by_code.items(), key=lambda item: (-lower_bound(item[1].values()), item[0])):
        named = [(site, count) for site, count in sites.items() if count]
        if most_sites is not None and len(named) > most_sites:
            named.sort(key=lambda item: -lower_bound([item[1]]))
        where = join_names([f"{site} {format_count(count)}" for site, count in named], most_sites)
        cells = (Cell(explain_code(code), "text"), _sum_cell(sites.values()), Cell(where, "text"))
        rows.append(Row(code, cells, css="code"))
    return Table(("Code", "In plain words", "Cases", "Where"), tuple(rows)) if rows else None


def rejected_table(data: ReportData) -> Table | None:
    """Return every reply that did not count, in the order in which they came."""
    if not data.rejected:
        return None
    rows = []
    for reply in data.rejected:
        late = reply.status == "late" and not reply.reason
        code, words = ("", "It came after the deadline.") if late else format_reason(reply.reason)
        when = f"{reply.when} ({ARM_TITLES.get(reply.arm, reply.arm)})" if reply.arm and len(data.arms) > 1 else reply.when
        cells = (Cell(reply.site, "text"), Cell(reply.status, "text"), Cell(words, "text"), Cell(code, "text code"))
        rows.append(Row(when, cells))
    return Table(("When", "Hospital", "Status", "Reason", "Code"), tuple(rows))


def grouped_rejected_table(data: ReportData, most_sites: int) -> Table:
    """Return the replies that did not count, one row for each reason, with how many there were and a few of the hospitals."""
    groups: dict[tuple[str, str], list[RejectedReply]] = {}
    for reply in data.rejected:
        groups.setdefault((reply.status, reply.reason), []).append(reply)
    rows = []
    for (status, reason), replies in sorted(groups.items(), key=lambda item: -len(item[1])):
        code, words = format_reason(reason)
        sites, when = (list(dict.fromkeys(getattr(reply, name) for reply in replies)) for name in ("site", "when"))
        texts = (join_names(sites, most_sites), join_names(when, most_sites), status, words)
        cells = (*(Cell(text, "text") for text in texts), Cell(code, "text code"))
        rows.append(Row(plural(len(replies), "reply", "replies"), cells))
    return Table(("How many", "Hospitals", "When", "Status", "Reason", "Code"), tuple(rows))


def rounds_table(data: ReportData) -> Table | None:
    """Return the cost and the result of each round of each arm, and the cost of a first model that was sent whole before."""
    done = [r for arm in data.arms.values() for r in arm.rounds]
    if not done:
        return None
    rows = [_round_row(r, data) for r in done]
    sums = [_sum_defined([getattr(r, name) for r in done]) for name in ("seconds", "bytes_down", "bytes_up")]
    if data.start_bytes:
        sent = Cell(format_bytes(data.start_bytes), number=data.start_bytes)
        rows.insert(0, Row("first model, as hospitals joined", (*(Cell("") for _ in range(7)), sent, Cell(""))))
        sums[1] += data.start_bytes
    formats = (format_duration, format_bytes, format_bytes)
    total = (*(Cell("") for _ in range(6)), *(Cell(form(s), number=s) for form, s in zip(formats, sums, strict=True)))
    results = ("Replied", "Largest share", "Training cases", "Left out", "Training loss", "Validation score", "Time")
    columns = ("Round", *results, "Sent to hospitals", "Received")
    return Table(columns, (*rows, Row("In all", total, css="total")))


def list_settings(data: ReportData) -> list[tuple[str, str]]:
    """Return every setting of the study, and of its simulation if it was one, spelled as in the file of the study.

    Folders of the machine are left out.
    """
    values = data.study.model_dump(mode="json", by_alias=True)
    if data.simulation.data:
        values["simulation"] = data.simulation.model_dump(mode="json", by_alias=True, exclude=_LOCAL_PATH_KEYS)
    return list(_flatten_values("", values))


def list_versions(data: ReportData) -> list[tuple[str, str]]:
    """Return the software and the machine of the run."""
    versions = [(str(name), str(version)) for name, version in (data.about.get("versions") or {}).items()]
    return versions + [(f"machine: {key}", str(value)) for key, value in data.machine.items()]


def _used_row(name: str, site: JoinedSite) -> Row:
    return _flow_row(name, [site])


def _used_total_row(sites: list[JoinedSite]) -> Row:
    return _flow_row("All hospitals", sites, css="total")


def _flow_row(name: str, sites: list[JoinedSite], css: str = "") -> Row:
    """Return one row: the cases found, those left out, those used, and the patients of each split."""
    used = [site.cases[split] for site in sites for split in _SPLITS]
    left_out = [count for site in sites for count in site.excluded.values()]
    flow = [_sum_cell(counts) for counts in (used + left_out, left_out, used)]
    splits = [_patients_cell([s.patients[split] for s in sites], [s.cases[split] for s in sites]) for split in _SPLITS]
    return Row(name, (*flow, *splits), css)


def _sum_cell(counts: Iterable[int], title: str = "") -> Cell:
    """Return a sum of counts, whose number is known where no hospital suppresses one of them."""
    known = list(counts)
    return Cell(format_sum(known), title=title, number=math.nan if any(count < 0 for count in known) else sum(known))


def _patients_cell(patients: list[int], cases: list[int]) -> Cell:
    people, images = format_sum(patients), format_sum(cases)
    few = any(count < 0 for count in patients)
    text = people if people == images or not any(cases) else f"{people} ({images} images)"
    return Cell(text, title=SUPPRESSED_NOTE if few else "", number=math.nan if few else sum(patients))


def _round_row(done: RoundSummary, data: ReportData) -> Row:
    several = len(data.arms) > 1
    head = f"{done.number}, {ARM_TITLES.get(done.arm, done.arm)}" if several else str(done.number)
    all_answered = done.answered == done.asked
    answered = Cell(f"{done.answered} of {done.asked}", "num" if all_answered else "num warn", number=done.answered)
    left_out = [count for counts in done.excluded.values() for count in counts.values()]
    used = _sum_cell(done.used.values(), _format_by_site(done.used)) if done.used else Cell(NOT_AVAILABLE)
    out = _sum_cell(left_out, _format_by_site({site: counts for site, counts in done.excluded.items() if counts}))
    results = (
        Cell("hidden", "num none", title=HIDDEN_NOTE) if name in done.hidden else Cell(format_score(value), number=value)
        for name, value in (("loss", done.loss), ("score", done.score))
    )
    cells = (*results, Cell(format_duration(done.seconds), number=done.seconds))
    best = done.arm == "federated" and done.number == data.best_round
    sizes = (Cell(format_bytes(size), number=size) for size in (done.bytes_down, done.bytes_up))
    return Row(head, (answered, _share_cell(done), used, out, *cells, *sizes), mark="chosen" if best else "")


def _share_cell(done: RoundSummary) -> Cell:
    """Return the largest share of the weight that one hospital holds, and whose it is; those of the others as a title."""
    if done.arm != "federated" or not done.shares:
        return Cell("")
    site, share = max(done.shares.items(), key=lambda item: item[1])
    title = join_names([f"{name} {format_percent(part)}" for name, part in sorted(done.shares.items())], _MAX_NAMED)
    is_large = is_mostly_one(done.shares)
    return Cell(f"{format_percent(share)}, {site}", "num site warn" if is_large else "num site", title=title, number=share)


def _format_by_site(counts: Mapping[str, int | Mapping[str, int]]) -> str:
    """Return the count, or the counts by code, of each site in one line."""

    def format_one(count: int | Mapping[str, int]) -> str:
        return (
            format_count(count)
            if isinstance(count, int)
            else ", ".join(f"{format_count(n)} {code}" for code, n in count.items())
        )

    return join_names([f"{site}: {format_one(count)}" for site, count in sorted(counts.items())], _MAX_NAMED, "; ")


def _sum_defined(values: list[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) if defined else math.nan


def _flatten_values(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flatten_values(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", ", ".join(map(str, value)) if isinstance(value, list) else str(value)
