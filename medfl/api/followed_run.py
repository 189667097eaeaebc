"""A simulated run that is followed by a callback, and can be ended by an exception in it or by Ctrl-C."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context

from medfl.api.events import RunEvent
from medfl.errors import MedflError
from medfl.report import write_report
from medfl.runs.history import HistoryTail, is_complete_round, read_history
from medfl.runs.run_folder import run_status
from medfl.simulation.simulated_run import Engine, SimulatedRun
from medfl.system.text import plural

Progress = Callable[[RunEvent], object]

_POLL_SECONDS = 0.2  # between two looks for new events


class _Note(str):
    """What an exception says of a run."""


def run_followed(simulation: SimulatedRun, engine: Engine, workers: int, progress: Progress | None = None) -> None:
    """Run a simulation to its end in a thread of its own, while this thread hands its events to a callback.

    So the callback may draw, wait or fail as any code of the caller: the run goes on beside it, and ends only when the callback
    raises, or when Ctrl-C (a notebook's "interrupt") reaches this thread. The report is written however the run ends, unless it
    completes: then that is left to the caller.

    Parameters
    ----------
    simulation : SimulatedRun
        What to run.
    engine : {"embedded", "ray"}
        What runs it.
    workers : int
        Hospitals that work at once; 0: as many as the cores allow.
    progress : callable, optional
        Called with each `RunEvent`, in order, a moment after it was written.

    Raises
    ------
    BaseException
        What the callback raised, with a note on what was kept; KeyboardInterrupt likewise.
    MedflError
        The error that ended the run early.
    """
    before = _count_rounds(simulation)
    stop, over, failures = threading.Event(), threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            simulation.start(engine, workers, stop)
        except BaseException as error:  # raised again in the thread that waits
            failures.append(error)
        finally:
            over.set()

    tail = HistoryTail(simulation.run, skip_past=True)  # before it starts: of a resumed run, what is new
    thread = threading.Thread(target=copy_context().run, args=(work,), name="medfl run", daemon=True)
    try:
        thread.start()
        _follow(over, tail, progress)
    except BaseException as error:
        stop.set()
        if thread.ident is not None:
            _wait_for_end(over)
        _write_report(simulation)
        _add_note(error, simulation, engine, next((each for each in failures if not isinstance(each, KeyboardInterrupt)), None))
        raise
    if failures:
        if getattr(failures[0], "code", "") != "RUN-BUSY":  # or it would be the report of a run that goes on
            _write_report(simulation)
        if _count_rounds(simulation) > before:  # otherwise the failure says what to do before it can go on, if it can
            _add_note(failures[0], simulation, engine, None)
        raise failures[0]


def _follow(over: threading.Event, tail: HistoryTail, progress: Progress | None) -> None:
    is_over = False
    while not is_over:
        is_over = over.wait(_POLL_SECONDS)  # before the last look: nothing is written after it
        if progress is not None:
            for event in tail.read_new():
                progress(RunEvent.from_history(event))


def _wait_for_end(over: threading.Event) -> None:
    """Wait until a run that was asked to end has ended; a second Ctrl-C does not hasten it.

    Not by `Thread.join`: before Python 3.13 a Ctrl-C in it makes a thread that still runs pass for one that has ended.
    """
    while not over.is_set():
        with suppress(KeyboardInterrupt):
            over.wait()


def _write_report(simulation: SimulatedRun) -> None:
    if simulation.run.is_dir():
        with suppress(Exception):  # a report that fails, too, must not hide what ended the run
            write_report(simulation.run)


def _add_note(error: BaseException, simulation: SimulatedRun, engine: Engine, failure: BaseException | None) -> None:
    """Say with an error of the caller what is left of the run, and whether the run had failed by itself."""
    note = _Note("" if failure is None else f"The run itself had failed: {failure} ")
    with suppress(Exception):  # a history that is damaged, too, must not hide what ended the run
        note = _Note(note + _what_was_kept(simulation, engine))
    others = [each for each in getattr(error, "__notes__", ()) if not isinstance(each, _Note)]
    error.__notes__ = [*others, note] if note else others  # an exception that is raised again is about the last run alone


def _count_rounds(simulation: SimulatedRun) -> int:
    """Return the complete rounds of all arms; 0 where the history cannot be read."""
    with suppress(MedflError):
        return sum(event["event"] == "round" and is_complete_round(event) for event in read_history(simulation.run))
    return 0


def _what_was_kept(simulation: SimulatedRun, engine: Engine) -> str:
    """Return what is left of a simulation that ended early, and how it goes on."""
    folder, rounds = shlex.quote(str(simulation.run)), _count_rounds(simulation)
    if run_status(read_history(simulation.run)) == "completed":
        return f"The run is complete, in {folder}: medfl.open_run opens it."
    if not rounds:
        return "No round was done, so no model was kept. Started again, it uses the images that are prepared already."
    total = simulation.study.rounds * len(simulation.study.arms)
    kept = f"After {plural(rounds, 'round')} of {total}: the history, the report and the last models are in {folder}."
    option = " --engine ray" if engine == "ray" else ""
    return f"{kept}\nGo on after the last complete round, to the same numbers: medfl resume {folder}{option}"
