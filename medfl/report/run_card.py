"""Card of a run for a notebook: a piece of HTML with headlines and verdict, in the colours of the page around it."""

from __future__ import annotations

from medfl.report import verdict
from medfl.report.report_data import ReportData
from medfl.report.templates import render_page


def render_run_card(data: ReportData) -> str:
    """Return the card of a run as HTML."""
    return render_page(
        "run_card.html.j2",
        ("card.css",),
        data=data,
        study=data.study,
        headlines=verdict.headlines(data),
        verdict=verdict.verdict_sentences(data),
    )
