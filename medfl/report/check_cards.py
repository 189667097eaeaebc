"""Cards of checks for a notebook: pieces of HTML in the colours of the page around them."""

from __future__ import annotations

from collections.abc import Sequence

from medfl.data.quality.facts import SiteCheck
from medfl.errors import explain_code
from medfl.report.disclosure import Disclosure
from medfl.report.templates import render_page
from medfl.study import Study

_STYLES = ("card.css",)


def render_study_card(study: Study, sites: Sequence[str]) -> str:
    """Return the card of a valid study, and of its simulated hospitals, as HTML."""
    return render_page("study_card.html.j2", _STYLES, study=study, sites=sites)


def render_data_card(check: SiteCheck, shared: Disclosure) -> str:
    """Return the card of the check of a site's data as HTML."""
    rows = [(row, row.what if row.count < 2 else explain_code(row.code)) for row in check.count_findings()]
    return render_page("data_card.html.j2", _STYLES, check=check, rows=rows, declined=shared.why)
