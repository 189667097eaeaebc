"""Data of a simulation as a whole: a study that would train on something else than it says does not start.

In a real federation each site decides by its own policy what it brings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from medfl.errors import DataError, RunError, explain_code
from medfl.runs.history import Event, is_complete_round
from medfl.study import StudyApp
from medfl.system.text import join_words, plural


def simulation_reports(events: Sequence[Event]) -> dict[str, dict[str, Any]]:
    """Return the latest that each simulated site reported of its data when it joined."""
    return {
        str(e["site"]): e["simulated"] | {"cases": e["cases"]} for e in events if e["event"] == "joined" and "simulated" in e
    }


def check_simulated_data(app: StudyApp, past: Sequence[Event], events: Sequence[Event]) -> None:
    """Raise when the data of a simulation is not what the study says, or not what a resumed run began with.

    Parameters
    ----------
    app : StudyApp
        The study, and how it is simulated.
    past : sequence of dict
        History of the run before it was resumed; empty for a new one.
    events : sequence of dict
        The whole history, with what the sites reported when they joined.

    Raises
    ------
    RunError
        ``RUN-OTHER-DATA``.
    DataError
        ``CLASS-WITHOUT-CASE`` when no site has a case of a class, ``CASES-LEFT-OUT`` when more cases had to be left out than
        the simulation allows.
    """
    reports = simulation_reports(events)
    _check_same_data(past, reports)
    if not reports:
        return
    left_out = sum(report["left-out"] for report in reports.values())
    total = left_out + sum(sum(report["cases"].values()) for report in reports.values())
    because = _describe_exclusions(events)
    present = set().union(*(report["classes"] for report in reports.values()))
    wanted = app.study.task.classes if app.study.task.kind == "classification" else app.study.task.foreground
    if missing := [name for name in wanted if name not in present]:
        what = f"no hospital has a usable case of {join_words([repr(name) for name in missing])}{because}."
        raise DataError("CLASS-WITHOUT-CASE", what, "Write task.classes as the data does, or take other data.")
    if left_out > app.simulation.max_excluded * total:
        what = (
            f"{left_out} of {total} cases had to be left out ({left_out / total:.0%}), and simulation.max-excluded allows "
            f"{app.simulation.max_excluded:.0%}{because}."
        )
        raise DataError("CASES-LEFT-OUT", what, "Repair the data, or raise simulation.max-excluded if the rest is enough.")


def _check_same_data(past: Sequence[Event], reports: dict[str, dict[str, Any]]) -> None:
    if not any(event["event"] == "round" and is_complete_round(event) for event in past):
        return  # nothing was trained on what there was
    before = simulation_reports(past)
    if changed := sorted(site for site in before.keys() & reports.keys() if before[site]["data"] != reports[site]["data"]):
        what = f"the images or labels of {join_words(changed)} are not those with which the run began."
        raise RunError("RUN-OTHER-DATA", what, "Put them back as they were, or start a new run.")


def _describe_exclusions(events: Sequence[Event]) -> str:
    """Return how many cases were left out for each reason, in words; the codes of the last joining count."""
    latest = {str(event["site"]): event["excluded"] for event in events if event["event"] == "joined"}
    counted: Counter[str] = Counter()
    for excluded in latest.values():
        counted.update({code: max(count, 0) for code, count in excluded.items()})
    reasons = [f"{plural(n, 'case')} by {code}: {explain_code(code).rstrip('.')}" for code, n in counted.most_common(3)]
    if rest := counted.total() - sum(count for _, count in counted.most_common(3)):
        reasons.append(f"{plural(rest, 'case')} for other reasons")
    return f" (left out: {'; '.join(reasons)})" if reasons else ""
