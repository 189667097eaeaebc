"""Simulated runs that broke off: what must be as it was, so that a run goes on to the numbers that it would have had."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from medfl.data.simulated_sites import read_simulated_sites
from medfl.data.store.cache_key import run_state_folder, site_root
from medfl.errors import ConfigError, RunError
from medfl.runs.history import Event, is_complete_round
from medfl.runs.run_folder import PACKAGES, Run, busy_error, is_locked, read_metadata, run_status, software_versions
from medfl.runs.site_state import is_lost_since
from medfl.server.checkpoints import SHARED, checkpoint_name, load_of_run
from medfl.server.simulated_data import check_same_hospitals
from medfl.simulation.simulated_run import SimulatedRun
from medfl.site import Site
from medfl.study import StudyApp, app_from_run_config
from medfl.study.arms import OWN_MODEL_ARMS
from medfl.study.study_file import Scalar, make_study_file
from medfl.study.study_json import app_to_run_config
from medfl.system.text import join_words

_RELEASE_SECONDS = 10.0  # that the processes of a killed run may take to end
_NEW_RUN = "or start a new run."


def plan_resumption(path: Path) -> SimulatedRun:
    """Open the folder of a simulated run that broke off, ready to go on after its last complete round; nothing is started.

    Parameters
    ----------
    path : Path
        The run folder.

    Returns
    -------
    SimulatedRun

    Raises
    ------
    RunError
        ``RUN-MISSING`` or ``RUN-DAMAGED`` when this is no run folder, ``RUN-FEDERATED`` when the run is one of a real
        federation, ``RUN-BUSY`` while it is running, ``RUN-FINISHED`` when it is completed, ``RUN-RENAMED`` when its folder has
        another name than it had, ``RUN-OTHER-VERSION`` when other software is installed than it began with, ``RUN-OTHER-DATA``
        when other hospitals are in the data, ``STATE-LOST`` when what they keep between two rounds is gone,
        ``CHECKPOINT-MISSING`` or ``CHECKPOINT-DAMAGED`` when a model of the last complete round is.
    """
    run = Run.open(path)
    if not run.app.is_simulation:
        what = f"the run {path.name} is not a simulation; it belongs to a federation."
        raise RunError("RUN-FEDERATED", what, f"Go on with it there: medfl resume {path.name} --federation FOLDER")
    _check_is_over(run)
    _check_name(run)
    app, run_config = _read_config(run)
    sites, events = _read_sites(app), run.history.read()
    _check_sites(run, sites, events)
    _check_models(run, events)
    return SimulatedRun(make_study_file(app.study.name, run_config), app, run_config, sites, path)


def _check_is_over(run: Run) -> None:
    end = time.monotonic() + _RELEASE_SECONDS
    while is_locked(run.path):
        if time.monotonic() >= end:
            raise busy_error(run.app, run.path.name)
        time.sleep(0.1)
    if run_status(run.history.read()) == "completed":
        raise RunError("RUN-FINISHED", f"the run {run.path.name} is completed.", "Start a new one.")


def _check_name(run: Run) -> None:
    """Raise unless the folder has the name by which the sites know the run."""
    study, name = run.study.name, run.app.server.run or run.path.name
    if (run.path.parent.name, run.path.name) != (study, name):
        what = "the folder of this run has another name than it had."
        raise RunError("RUN-RENAMED", what, f"Call it {study}/{name} again, {_NEW_RUN}")


def _read_config(run: Run) -> tuple[StudyApp, dict[str, Scalar]]:
    """Return the configuration with which a run goes on, or raise when this software would come to other numbers."""
    now = software_versions()
    differing = [f"{name} {run.versions[name]}" for name in PACKAGES if run.versions.get(name, now[name]) != now[name]]
    if differing:
        what = f"the run began with {join_words(differing)}, and other versions are installed now."
        raise RunError("RUN-OTHER-VERSION", f"{what} It would come to other numbers.", f"Install those, {_NEW_RUN}")
    paths: dict[str, Scalar] = {"server.out": str(run.path.parent.parent), "server.run": run.path.name, "server.resume": True}
    run_config = {**app_to_run_config(run.app), **paths}
    app = app_from_run_config(run_config)
    if app.study != run.study or read_metadata(run.path).get("hash") != app.study.approved_hash():
        what = f"the run {run.path.name} began with another version of medfl, which read the study in another way."
        raise RunError("RUN-OTHER-VERSION", what, f"Install the version of then, {_NEW_RUN}")
    return app, run_config


def _read_sites(app: StudyApp) -> tuple[Site, ...]:
    try:
        return read_simulated_sites(app.simulation)
    except ConfigError as error:
        what = f"the data of the run is not what it was: {error.problems[0].what}"
        raise RunError("RUN-OTHER-DATA", what, f"Put it back as it was, {_NEW_RUN}") from None


def _check_sites(run: Run, sites: Sequence[Site], events: Sequence[Event]) -> None:
    """Raise when the data has other hospitals, or what one keeps between two rounds is lost."""
    check_same_hospitals((site.name for site in sites), events)
    if not (run.study.keeps_site_state or run.study.has_personal_models):
        return
    federated = [event for event in events if event.get("arm") == "federated"]
    counted = _last_counted_rounds(federated)
    last = max(counted.values(), default=0)
    is_scored = any(event["event"] == "scored" and event["round"] == last for event in federated)
    if run.study.strategy.name == "fedbuff":  # there a reply may count in a later round than the site saved it in
        counted = dict.fromkeys(counted, 1)
    for site in (site for site in sites if site.name in counted):
        folder = run_state_folder(site_root(site), run.study.approved_hash(), run.path.name)
        if is_lost_since(folder, counted[site.name], last, last + is_scored):
            what = f"what {site.name} kept in the last complete round is no longer in the store of prepared data."
            fix = "If MEDFL_STORE named another folder then, set it again; what a later round has replaced cannot be had back."
            raise RunError("STATE-LOST", what, f"{fix} Otherwise start a new run.")


def _check_models(run: Run, events: Sequence[Event]) -> None:
    """Raise unless the models and the strategy's state of the last complete round of each arm can be read."""
    for arm in run.study.arms:
        rounds = [e for e in events if e["event"] == "round" and e["arm"] == arm and is_complete_round(e)]
        if not rounds:
            continue
        last = rounds[-1]
        names = ["strategy"] if last.get("remembers") else []
        names += [SHARED] if arm not in OWN_MODEL_ARMS else sorted(_last_counted_rounds(rounds))
        for name in names:
            load_of_run(run.checkpoints, checkpoint_name(arm, name, last["round"]))


def _last_counted_rounds(events: Iterable[Event]) -> dict[str, int]:
    """Return for each site the last complete round in which its reply counted."""
    rounds = [event for event in events if event["event"] == "round" and is_complete_round(event)]
    return {site: event["round"] for event in rounds for site, entry in event["sites"].items() if entry["status"] == "ok"}
