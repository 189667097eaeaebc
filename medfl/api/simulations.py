"""Simulation of a study on this machine, from Python."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from medfl.api.followed_run import Progress, run_followed
from medfl.api.runs import OpenRun
from medfl.api.studies import DataFolders, OpenStudy, open_study, to_paths
from medfl.simulation import resumed_run, simulated_run
from medfl.simulation.simulated_run import Engine, SimulatedRun
from medfl.simulation.worker_pool import warm_up


def simulate(
    study: OpenStudy | str | os.PathLike[str],
    data: DataFolders = (),
    out: str | os.PathLike[str] = "runs",
    *,
    arms: str | Sequence[str] = (),
    seed: int | None = None,
    workers: int = 0,
    engine: Engine = "embedded",
    progress: Progress | None = None,
) -> OpenRun:
    """Run a study with simulated hospitals on this machine.

    It returns when the run is over. Ctrl-C, a notebook's "interrupt", and an exception in `progress` stop it; what was done
    until then is kept, and `resume` goes on with it.

    Parameters
    ----------
    study : OpenStudy, or path
        What to run.
    data : path, or sequence of paths
        Folders with the hospitals' data; those that the study names unless given.
    out : path
        Folder under which the run's folder is made.
    arms : str, or sequence of str
        What to compare, as ``"federated,local"``; what the study says unless given.
    seed : int, optional
        Seed to use instead of the study's.
    workers : int
        Hospitals that work at once; 0: as many as the cores allow. The numbers do not depend on it.
    engine : {"embedded", "ray"}
        ``ray`` is Flower's own simulation runtime; both give the same numbers.
    progress : callable, optional
        Called with each `medfl.api.RunEvent`, in this thread, while the run goes on beside it; ``print`` will do.

    Returns
    -------
    OpenRun

    Raises
    ------
    ConfigError
        When the study or a ``site.toml`` is wrong, with all problems.
    ValueError
        When there is no such engine, or `workers` is negative.
    MedflError
        The error that ended the run early; the run folder and its report hold what was done until then.

    Examples
    --------
    >>> run = simulate("sample_configs/hippocampus", data="data", progress=print)  # doctest: +SKIP
    """
    _check_engine(engine, workers)
    if engine == "embedded":
        warm_up()
    simulation = plan_simulation(study, data, out, arms=arms, seed=seed)
    return run_simulation(simulation, engine, workers, progress)


def resume(
    run: str | os.PathLike[str], *, workers: int = 0, engine: Engine = "embedded", progress: Progress | None = None
) -> OpenRun:
    """Go on with a simulation that was stopped, killed or failed, after its last complete round.

    It comes to the numbers that it would have had anyway, to the last bit on a CPU.

    Parameters
    ----------
    run : path
        The run folder.
    workers, engine, progress
        As in `simulate`; they may be others than before.

    Raises
    ------
    RunError
        When the run is still going on or completed, or its data, its state or the software is not what it was.
    MedflError
        The error that ended the run early.

    Examples
    --------
    >>> run = resume("runs/hippocampus/20260131T120000Z-a1b2c3")  # doctest: +SKIP
    """
    _check_engine(engine, workers)
    if engine == "embedded":
        warm_up()
    return run_simulation(plan_resumption(run), engine, workers, progress)


def plan_resumption(run: str | os.PathLike[str]) -> SimulatedRun:
    """Check that a simulation can go on; nothing is started or written. See `resume`."""
    return resumed_run.plan_resumption(Path(run).expanduser().resolve())


def plan_simulation(
    study: OpenStudy | str | os.PathLike[str],
    data: DataFolders = (),
    out: str | os.PathLike[str] = "runs",
    *,
    arms: str | Sequence[str] = (),
    seed: int | None = None,
) -> SimulatedRun:
    """Find the hospitals of a simulation and choose its run folder; nothing is started or written. See `simulate`."""
    opened = study if isinstance(study, OpenStudy) else open_study(study)
    chosen = ",".join([arms] if isinstance(arms, str) else arms)
    changed = opened.change(({"arms": chosen} if chosen else {}) | ({} if seed is None else {"seed": seed}))
    return simulated_run.plan_simulation(changed.file, to_paths(data), Path(out).expanduser(), changed.changes)


def run_simulation(
    simulation: SimulatedRun, engine: Engine = "embedded", workers: int = 0, progress: Progress | None = None
) -> OpenRun:
    """Run what `plan_simulation` returned, and write its report. See `simulate`."""
    _check_engine(engine, workers)
    with simulation.reserve():
        run_followed(simulation, engine, workers, progress)
        run = OpenRun(simulation.run, simulation.study)
        run.write_report()
    return run


def _check_engine(engine: str, workers: int) -> None:
    if engine not in get_args(Engine):
        raise ValueError(f"'engine' is one of {', '.join(map(repr, get_args(Engine)))}, not {engine!r}.")
    if workers < 0:
        raise ValueError(f"'workers' is at least 1, or 0 for as many as the cores allow, not {workers}.")
