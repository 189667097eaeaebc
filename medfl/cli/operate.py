"""Commands `medfl run`, `resume`, `status`, `stop` and `logs`: studies in a real federation."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medfl.cli.console import errors, output
from medfl.cli.options import FederationOption, JsonOption, SetOption, WorkersOption, parse_overrides
from medfl.cli.run_display import RunDisplay, follow_run
from medfl.cli.run_outcome import print_outcome
from medfl.cli.simulate import EngineName, EngineOption, resume_simulation
from medfl.cli.sweep import resume_sweep
from medfl.cli.varied_comparison import run_varied

if TYPE_CHECKING:
    from medfl.deploy.control import SubmittedRun
    from medfl.deploy.federation_folder import FederationFolder

_POLL_SECONDS = 0.5  # between two looks into the history
_SERVER_TIMEOUT = 60.0  # seconds without an answer, after which the command gives up
_STATUS_SECONDS = 10.0  # between two questions to Flower, each of which takes a second of work

RunArgument = Annotated[str, typer.Argument(help="Name of the run, or its beginning; the newest unless given.")]
DetachOption = Annotated[bool, typer.Option("--detach", help="Start the run and return at once.")]


def run(
    study: Annotated[Path, typer.Argument(help="Folder of the study, or its pyproject.toml.")],
    federation: FederationOption = Path("federation"),
    change: SetOption = None,
    detach: DetachOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a study in a federation and follow it to the end. Ctrl-C leaves it running."""
    from medfl.deploy import control
    from medfl.deploy.federation_folder import open_federation

    folder = open_federation(federation)
    _follow(folder, control.submit(folder, study, parse_overrides(change)), detach=detach, as_json=as_json)


def resume(
    name: Annotated[str, typer.Argument(help="Folder of a run or a sweep, or the name of a run, or its beginning.")] = "",
    federation: FederationOption = Path("federation"),
    detach: DetachOption = False,
    engine: EngineOption = EngineName.EMBEDDED,
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Go on with a run that was stopped, killed or failed, after its last complete round: a simulation or a federation's."""
    from medfl.deploy import control
    from medfl.deploy.federation_folder import open_federation
    from medfl.simulation.sweep_runner import SWEEP_FILE
    from medfl.simulation.varied_sweep import VARIED_FILE, plan_varied_resumption

    if name and (Path(name) / VARIED_FILE).is_file():
        run_varied(plan_varied_resumption(Path(name).resolve()), workers, as_json=as_json)
        return
    if name and (Path(name) / SWEEP_FILE).is_file():
        resume_sweep(Path(name), workers, as_json=as_json)
        return
    if (simulation := _find_simulation(name, federation)) is not None:
        resume_simulation(simulation, engine, workers, as_json=as_json)
        return
    folder = open_federation(federation)
    _follow(folder, control.resume(folder, Path(name).name), detach=detach, as_json=as_json)


def _find_simulation(name: str, federation: Path) -> Path | None:
    """Return the folder of the simulated run that a name means; None when it is one of the federation."""
    from medfl.deploy import control
    from medfl.deploy.federation_folder import FEDERATION_FILE, open_federation
    from medfl.errors import RunError
    from medfl.runs.finding import find_run
    from medfl.runs.run_folder import STUDY_JSON, Run

    is_folder = bool(name) and (Path(name) / STUDY_JSON).is_file()
    if not is_folder and (federation / FEDERATION_FILE).is_file():
        try:
            control.find(open_federation(federation), name)
        except RunError:
            with suppress(RunError):
                return find_run(name)
        return None
    try:
        run = find_run(name)
    except RunError:
        if name:
            raise
        return None
    return None if Run.open(run).app.server.enrolled else run


def status(
    name: RunArgument = "",
    federation: FederationOption = Path("federation"),
    follow: Annotated[bool, typer.Option("--follow", help="Follow the run until it ends.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the state of a run: rounds, sites, scores, time left. Exit code 1: it failed, was stopped, or died."""
    from medfl.deploy import control
    from medfl.deploy.federation_folder import open_federation
    from medfl.runs.history import read_history

    folder = open_federation(federation)
    submitted = control.find(folder, name)
    if follow:
        _follow(folder, submitted, detach=False, as_json=as_json)
        return
    flower_status, events = control.status(folder, submitted), read_history(submitted.run)
    if as_json:
        last = events[-1] if events else {}
        output.print_json(
            json.dumps({"run": submitted.name, "study": submitted.study.name, "status": flower_status, "last": last})
        )
    else:
        display = _make_display(folder, submitted)
        display.update(events)
        output.print(f"Run {submitted.name}: {flower_status}")
        output.print(display)
    if _read_end_status(submitted) in ("failed", "stopped") or _ended_badly(flower_status):
        raise typer.Exit(1)


def stop(name: RunArgument = "", federation: FederationOption = Path("federation")) -> None:
    """Stop a run: hospitals stop at their next batch. It can be resumed."""
    from medfl.deploy import control
    from medfl.deploy.federation_folder import open_federation

    folder = open_federation(federation)
    submitted = control.find(folder, name)
    if control.stop(folder, submitted):
        output.print(f"{submitted.name} is stopped. {_describe_next_step(submitted)}")
    else:
        output.print(f"{submitted.name} was over already.")


def logs(name: RunArgument = "", federation: FederationOption = Path("federation")) -> None:
    """Print Flower's log of a run on the server."""
    from medfl.deploy import control
    from medfl.deploy.federation_folder import open_federation

    folder = open_federation(federation)
    typer.echo(control.read_log(folder, control.find(folder, name)), nl=False)


def _follow(folder: FederationFolder, submitted: SubmittedRun, *, detach: bool, as_json: bool) -> None:
    """Follow a run to its end, and end the command as the run ended."""
    from medfl.api import open_run

    name = submitted.name
    if detach:
        output.print(json.dumps({"run": name}) if as_json else f"Started {name}: medfl status {name} --follow")
        return
    errors.print(f"Run {name}. Ctrl-C leaves it running.", style="dim")
    try:
        with follow_run(submitted.run, _make_display(folder, submitted), quiet=as_json):
            ended = _wait_for_end(folder, submitted)
    except KeyboardInterrupt:
        errors.print(f"The run goes on. Follow it: medfl status {name} --follow. Stop it: medfl stop {name}.")
        raise
    if ended != "completed":
        raise _run_error(submitted, ended)
    print_outcome(open_run(submitted.run).outcome(), as_json=as_json)


def _wait_for_end(folder: FederationFolder, submitted: SubmittedRun) -> str:
    """Wait for the end of a run, and return how it ended: "completed", "failed" or "stopped"."""
    from medfl.deploy import control
    from medfl.errors import DeployError

    answered = time.monotonic()
    while (ended := _read_end_status(submitted)) is None:
        if control.has_died(submitted):
            return _read_end_status(submitted) or "failed"
        time.sleep(_POLL_SECONDS)
        if time.monotonic() - answered >= _STATUS_SECONDS:
            try:
                flower_status = control.status(folder, submitted)
            except DeployError:  # Flower's server is started again when it ends, and its runs may outlive that
                if time.monotonic() - answered >= _SERVER_TIMEOUT:
                    raise
                continue
            answered = time.monotonic()
            if control.is_over(flower_status):
                kind = flower_status.partition(":")[2]
                return _read_end_status(submitted) or (kind if kind != "completed" else "failed")
    return ended


def _ended_badly(flower_status: str) -> bool:
    """Return whether a run is over at Flower, and not because it was completed."""
    from medfl.deploy import control

    return control.is_over(flower_status) and not flower_status.endswith(":completed")


def _read_end_status(submitted: SubmittedRun) -> str | None:
    """Return how a run ended, from its history since it last began."""
    ends = [event for event in submitted.events() if event["event"] == "end"]
    return str(ends[-1].get("status", "failed")) if ends else None


def _run_error(submitted: SubmittedRun, ended: str) -> Exception:
    from medfl.errors import RunError

    ends = [event for event in submitted.events() if event["event"] == "end"]
    silent = f"the server's process of this run {'was stopped' if ended == 'stopped' else 'died'} without a message."
    what = str(ends[-1].get("reason", "")) if ends else silent
    return RunError(f"RUN-{ended.upper()}", what, _describe_next_step(submitted))


def _describe_next_step(submitted: SubmittedRun) -> str:
    """Return how to go on with a run that ended early: by resuming it, where hospitals have it on record."""
    from medfl.errors import code_in, fixes_of
    from medfl.runs.history import read_history
    from medfl.server.site_joiner import COUNTED_CODES

    events = read_history(submitted.run)
    end = str(events[-1].get("reason", "")) if events else ""
    refusals = [str(event["reason"]) for event in events if event["event"] == "failed" and event["during"] == "join"]
    if refusals and not any(event["event"] == "joined" for event in events):
        is_counted = any(code_in(reason) in COUNTED_CODES for reason in refusals)
        again = f"go on with this run, which these hospitals know: medfl resume {submitted.name}" if is_counted else ""
        fix, step = fixes_of(refusals), again or "start it again: medfl run"
        if fix and fix in end:  # which is shown already
            return f"After that, {step}."
        return f"{fix or 'Look at the logs of the sites.'} Then {step}."
    if code_in(end) == "TOO-FEW-SITES" and not any(event["event"] == "round" for event in events):
        return f"When they are there, go on with it: medfl resume {submitted.name}."
    return f"Go on after its last complete round: medfl resume {submitted.name}."


def _make_display(folder: FederationFolder, submitted: SubmittedRun) -> RunDisplay:
    from medfl.deploy.site_registry import list_enrolled

    names = [site.name for site in list_enrolled(folder) if site.state() in ("valid", "expiring")]
    return RunDisplay(submitted.study, names, waiting="waiting for the hospitals")
