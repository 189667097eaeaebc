"""Page of a comparison: one HTML file that loads nothing from the network, for a head of department and a reviewer."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import medfl
from medfl.errors import RunError
from medfl.report import comparison_figures, comparison_tables, provenance_tables
from medfl.report.checklists import fill_checklists
from medfl.report.comparison_data import PAGE_FILE, ComparisonData, read_comparison
from medfl.report.comparison_words import ARM_MEANINGS, answer_sentences, comparison_headlines
from medfl.report.data_flow import flow_steps
from medfl.report.templates import render_page
from medfl.simulation.sweep_runner import SWEEP_FILE
from medfl.system.files import translate_disk_errors, write_file

_TITLES = {
    "answer": "The answer",
    "compared": "What was compared",
    "hospitals": "Hospital by hospital",
    "differences": "Differences",
    "learning": "How training went",
    "matrix": "Models by hospitals",
    "separation": "Single patients",
    "cases": "Worst and best cases",
    "work": "Work and messages",
    "flow": "Which patients",
    "provenance": "Versions and hashes",
    "settings": "Settings",
    "checklists": "Checklists",
    "reading": "How to read this",
}


def write_comparison_page(folder: Path) -> Path:
    """Write ``comparison.html`` with mode 0600 into the folder of a comparison, replacing an older one.

    Parameters
    ----------
    folder : Path
        The folder that `medfl compare` made.

    Returns
    -------
    Path
        The file, which holds its style and charts itself.

    Raises
    ------
    RunError
        ``COMPARISON-DAMAGED`` when the files of the comparison cannot be read, ``REPORT-FAILED`` when the page cannot be made.
    """
    data = read_comparison(folder)
    try:
        page = render_comparison(data)
    except Exception as error:  # a fault of medfl's own must not look like one of the comparison
        what = f"the page cannot be made ({type(error).__name__}); the comparison itself is as it was, in {folder}."
        raise RunError("REPORT-FAILED", what, f"Update medfl, then write it with 'medfl report {folder}'.") from error
    with translate_disk_errors("the page", f"write it again with 'medfl report {folder}'; the comparison itself is kept"):
        write_file(folder / PAGE_FILE, page.encode(), private=True)  # it lists single patients
    return folder / PAGE_FILE


def render_comparison(data: ComparisonData) -> str:
    """Return the page as HTML. A part that cannot be made is left out, and named at the top of the page."""
    parts, lacking = _make_parts(data)
    first = (next((run for run in data.runs if run.strategy), data.runs[0])).data
    shown = {"hospitals", "differences", "learning", "matrix", "cases"}
    missing = {key for key in shown if not parts[key]}
    if not (parts["separation"] or parts["rocs"] or parts["reliability"]):
        missing.add("separation")
    anchors = [(anchor, title) for anchor, title in _TITLES.items() if anchor not in missing]
    context = parts | {
        "data": data,
        "study": data.study,
        "name": data.score_name,
        "segmentation": data.study.task.kind == "segmentation",
        "lacking": lacking,
        "parts": anchors,
        "titles": _TITLES,
        "answer": answer_sentences(data),
        "headlines": comparison_headlines(data),
        "meanings": _meanings(data),
        "test_name": _test_name(data),
        "spread": comparison_tables.spread_table(data),
        "work": comparison_tables.work_table(data),
        "runs": comparison_tables.run_table(data),
        "flow": flow_steps({**first.joined, **first.external}, data.external),
        "used": provenance_tables.used_table(first),
        "excluded": provenance_tables.code_table(first, lambda site: site.excluded),
        "no_patient_ids": [site.name for _, site in sorted(first.joined.items()) if not site.patient_ids],
        "settings": provenance_tables.list_settings(first),
        "versions": provenance_tables.list_versions(first),
        "digests": [*data.digests.items(), *((f"images of {site}", d) for site, d in data.data_digests.items())],
        "command": comparison_command(data),
        "checklists": fill_checklists(_has(data), dict(anchors)),
        "version": medfl.__version__,
    }
    return render_page("comparison.html.j2", ("report.css", "comparison.css"), **context)


def comparison_command(data: ComparisonData) -> str:
    """Return the command that makes a comparison again; the places of study and data are left to whoever gives it."""
    try:
        record = json.loads((data.folder / SWEEP_FILE).read_bytes())
        strategies, arms = [text for text in record["strategies"] if "," not in text], record.get("arms", [])
    except (OSError, ValueError, KeyError, TypeError):
        strategies, arms = list(dict.fromkeys(run.strategy for run in data.runs if run.strategy)), []
    words = ["medfl", "compare", "STUDY", "--data", "DATA", "--strategies", ",".join(strategies)]
    words += ["--arms", ",".join(arms)] if arms else []
    return shlex.join([*words, "--seeds", ",".join(map(str, data.seeds))])


def _make_parts(data: ComparisonData) -> tuple[dict[str, Any], list[str]]:
    """Return the parts without which the page is still worth reading, and the names of those that failed."""
    parts: dict[str, Any] = {}
    lacking: dict[str, None] = {}
    for key, (title, make) in _PARTS.items():
        try:
            parts[key] = make(data)
        except Exception as error:  # whatever fails in drawing, the numbers are shown
            parts[key] = None
            lacking[f"{title} ({type(error).__name__})"] = None
    return parts, list(lacking)


def _meanings(data: ComparisonData) -> list[tuple[str, str]]:
    told = {arm.title: ARM_MEANINGS.get(arm.arm, "an arm that this page does not know") for arm in data.arms}
    strategies = {arm.title: arm.title.partition(" ")[2] for arm in data.arms if arm.arm == "federated"}
    return [(title, f"{text}; strategy {strategies[title]}" if title in strategies else text) for title, text in told.items()]


def _test_name(data: ComparisonData) -> str:
    return "Wilcoxon’s signed-rank test" if data.study.task.kind == "segmentation" else "DeLong’s test within hospitals"


def _has(data: ComparisonData) -> set[str]:
    """Return what the comparison has, of what items of checklists need."""
    joined = [site for run in data.runs for site in run.data.joined.values()]
    facts = {
        "intervals": bool(data.arms) and all(arm.interval for arm in data.arms),
        "several-seeds": len(data.seeds) > 1,
        "external": bool(data.external),
        "patient-ids": bool(joined) and all(site.patient_ids for site in joined),
        **{arm: any(each.arm == arm for each in data.arms) for arm in ("ensemble", "fine-tuned")},
    }
    return {name for name, holds in facts.items() if holds}


_PARTS: Mapping[str, tuple[str, Callable[[ComparisonData], Any]]] = {
    "hospitals": ("the scores by hospital", comparison_tables.hospital_forest),
    "quantiles": ("the spread over hospitals", comparison_tables.quantile_table),
    "subgroups": ("the groups of patients", comparison_tables.subgroup_table),
    "differences": ("the differences", comparison_tables.difference_forest),
    "learning": ("the learning curves", comparison_figures.learning_figure),
    "matrix": ("the matrix of models and hospitals", comparison_tables.model_matrix),
    "separation": ("the distribution of Dice", comparison_figures.dice_figure),
    "rocs": ("the ROC curves", comparison_figures.roc_figures),
    "reliability": ("the reliability", comparison_figures.reliability_figures),
    "cases": ("the worst and best cases", comparison_tables.case_tables),
}
