"""Data of a simulation as a whole: a study that would train on something else than it says does not start.

In a real federation each site decides by its own policy what it brings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from medfl.errors import DataError, RunError, explain_code
from medfl.runs.history import RESUME_EVENT, Event, is_complete_round, start_indices
from medfl.study import StudyApp
from medfl.system.text import join_words, plural


class TrainedData(NamedTuple):
    """What the models of a simulation were trained on.

    Parameters
    ----------
    hospitals : set of str
        Hospitals that were in the data, whether or not they could join; empty before the first complete round.
    digests : dict of str to str
        Hash of the cases of each that joined.
    """

    hospitals: set[str]
    digests: dict[str, str]

    @classmethod
    def from_history(cls, events: Iterable[Event]) -> TrainedData:
        """Read it from the history of a run; an attempt that ended before its first round left no trace in the models."""
        hospitals, digests, used = set[str](), dict[str, str](), cls(set(), {})
        for event in events:
            if event["event"] in ("start", RESUME_EVENT):
                hospitals, digests = set(event.get("hospitals", ())), {}
            elif event["event"] == "joined" and "simulated" in event:
                digests[str(event["site"])] = str(event["simulated"]["data"])
            elif event["event"] == "round" and is_complete_round(event):
                used = cls(hospitals, used.digests | digests)
        return used


def check_same_hospitals(names: Iterable[str], past: Iterable[Event]) -> None:
    """Raise ``RUN-OTHER-DATA`` unless the data holds the hospitals that a run was trained with, no fewer and no others.

    Parameters
    ----------
    names : iterable of str
        Hospitals that are in the data now.
    past : iterable of dict
        History of the run.
    """
    now, before = set(names), TrainedData.from_history(past).hospitals
    if now == before or not before:
        return
    differences = (("missing", before - now), ("new", now - before))
    parts = [f"{word}: {join_words(sorted(names))}" for word, names in differences if names]
    what = f"the hospitals in the data are not those with which the run began ({'; '.join(parts)})."
    raise RunError("RUN-OTHER-DATA", what, "Put it back as it was, or start a new run.")


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
        ``CLASS-WITHOUT-CASE`` when no site that trains has a case of a class, ``CASES-LEFT-OUT`` when more cases had to be left
        out than the simulation allows, ``EXTERNAL-COPIES`` when an image of an external hospital is at one that trains as well.
    """
    if not app.is_simulation:
        return
    joined = _latest_joined(events)
    reports = {site: event["simulated"] for site, event in joined.items()}
    _check_same_data(past, reports)
    external = {site: reports[site] for site in app.study.evaluation.external if site in reports}
    trains = [report for site, report in reports.items() if site not in external]
    _check_no_image_is_known(external, trains)
    left_out = sum(report["left-out"] for report in reports.values())
    total = left_out + sum(report["usable"] for report in reports.values())
    because = _describe_exclusions((event["excluded"] for event in joined.values()), left_out)
    present = set().union(*(report["classes"] for report in trains))
    wanted = app.study.task.classes if app.study.task.kind == "classification" else app.study.task.foreground
    if missing := [name for name in wanted if name not in present]:
        who = "no hospital that trains" if external else "no hospital"
        what = f"{who} has a usable case of {join_words([repr(name) for name in missing])}{because}."
        raise DataError("CLASS-WITHOUT-CASE", what, "Write task.classes as the data does, or take other data.")
    if left_out > (allowed := app.simulation.max_excluded * total):
        limit = f"simulation.max-excluded = {app.simulation.max_excluded:g} allows {int(allowed)}"
        what = f"{left_out} of {total} cases had to be left out, and {limit}{because}."
        raise DataError("CASES-LEFT-OUT", what, "Repair the data, or raise simulation.max-excluded if the rest is enough.")


def _latest_joined(events: Sequence[Event]) -> dict[str, Event]:
    """Return for each site that joined since the run was started or resumed what it reported last."""
    began = start_indices(events)
    latest = events[began[-1] :] if began else events
    return {str(event["site"]): event for event in latest if event["event"] == "joined"}


def _check_same_data(past: Sequence[Event], reports: dict[str, dict[str, Any]]) -> None:
    before = TrainedData.from_history(past).digests
    if changed := sorted(site for site in before.keys() & reports.keys() if before[site] != reports[site]["data"]):
        what = f"the images or labels of {join_words(changed)} are not those with which the run began."
        raise RunError("RUN-OTHER-DATA", what, "Put them back as they were, or start a new run.")


def _check_no_image_is_known(external: Mapping[str, Mapping[str, Any]], trains: Iterable[Mapping[str, Any]]) -> None:
    known = {image for report in trains for image in report.get("images", ())}
    found = {site: len(known.intersection(report.get("images", ()))) for site, report in external.items()}
    if shared := {site: count for site, count in found.items() if count}:
        where = join_words([f"{plural(count, 'image')} of {site}" for site, count in shared.items()])
        what = f"{where} {'is' if sum(shared.values()) == 1 else 'are'} also at a hospital that trains: nothing would be new."
        fix = "Remove the copies from one of them, or name other external hospitals."
        raise DataError("EXTERNAL-COPIES", what, fix)


def _describe_exclusions(excluded: Iterable[Mapping[str, int]], left_out: int) -> str:
    """Return how many cases the sites left out for each reason, in words.

    A small count may be hidden, also from a simulation, and is then among the other reasons.
    """
    counted: Counter[str] = Counter()
    for of_site in excluded:
        counted.update({code: max(count, 0) for code, count in of_site.items()})
    reasons = [f"{plural(n, 'case')} by {code}: {explain_code(code).rstrip('.')}" for code, n in counted.most_common(3)]
    if reasons and (rest := left_out - sum(count for _, count in counted.most_common(3))) > 0:
        reasons.append(f"{plural(rest, 'case')} for other reasons")
    return f" (left out: {'; '.join(reasons)})" if reasons else ""
