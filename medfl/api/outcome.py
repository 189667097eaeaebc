"""Outcome of a run: its headline numbers, the verdict in sentences, and what was left out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medfl.errors import MedflError
from medfl.messages.counts import format_sum
from medfl.report.report_data import ReportData, read_report_data
from medfl.report.verdict import Headline, headlines, verdict_sentences


@dataclass(frozen=True)
class RunOutcome:
    """Outcome of a run, as its report begins.

    Parameters
    ----------
    run : Path
        The run folder.
    report : Path or None
        The HTML report; None when it could not be written.
    headlines : tuple of Headline
        The report's headline numbers.
    verdict : tuple of str
        The outcome of the study, in sentences.
    left_out : str
        Sentence about the cases that the hospitals left out; empty for none.
    failure : MedflError or None
        Why the report could not be written.
    """

    run: Path
    report: Path | None
    headlines: tuple[Headline, ...]
    verdict: tuple[str, ...]
    left_out: str = ""
    failure: MedflError | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the outcome for JSON."""
        numbers = [
            {"label": h.label, "value": None if math.isnan(h.number) else h.number, "note": h.note} for h in self.headlines
        ]
        report = None if self.report is None else str(self.report)
        return {"run": str(self.run), "report": report, "headlines": numbers, "verdict": list(self.verdict)}


def read_outcome(run: Path, write_report: Callable[[], Path]) -> RunOutcome:
    """Write the report of a run and read its outcome; a report that cannot be written takes nothing else with it.

    Parameters
    ----------
    run : Path
        The run folder.
    write_report : callable
        Writes the report and returns its path.
    """
    data = read_report_data(run)
    report, failure = None, None
    try:
        report = write_report()
    except MedflError as error:
        failure = error
    return RunOutcome(run, report, headlines(data), tuple(verdict_sentences(data)), left_out_sentence(data), failure)


def left_out_sentence(data: ReportData) -> str:
    """Return how many cases the hospitals left out, as a sentence; empty for none."""
    excluded = [count for site in data.joined.values() for count in site.excluded.values()]
    if not any(excluded):
        return ""
    total = [*excluded, *(count for site in data.joined.values() for count in site.cases.values())]
    return f"{format_sum(excluded)} of {format_sum(total)} cases left out; the report says why."
