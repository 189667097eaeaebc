"""Sweep of several strategies over one study, one after the other, with equal seeds and a matched budget of local steps.

With the same seed all start from the same model and the same split of the patients, and each hospital draws the same batches.
The budget is the sum of ``train.steps``: a strategy that takes twice the steps of FedAvg in a round gets half the rounds.
"""

from __future__ import annotations

import dataclasses
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medfl.errors import ConfigError, MedflError, Problem, RunError
from medfl.runs.run_folder import Run, new_run_name, run_status
from medfl.simulation.simulated_run import SimulatedRun, plan_simulation
from medfl.simulation.strategy_specs import LOCAL, StrategySpec, parse_strategy_specs
from medfl.strategies.strategy_registry import build_strategy
from medfl.study import Study, StudyApp, app_from_run_config, study_from_run_config
from medfl.study.algorithms import ALGORITHMS
from medfl.study.study_file import Scalar
from medfl.system.files import translate_disk_errors

RUNS_FOLDER = "runs"  # in the folder of a sweep; it holds run folders as everywhere, <study>/<run>
NOT_RUN = "not run"  # status of a run that was not started


@dataclass(frozen=True)
class PlannedRun:
    """Run of a sweep, before it is started.

    Parameters
    ----------
    spec : StrategySpec
        Strategy with its settings.
    seed : int
        Seed of the study.
    simulation : SimulatedRun
        The study with this strategy and seed.
    finished : Path or None
        Folder of an earlier run that had the same settings and completed.
    """

    spec: StrategySpec
    seed: int
    simulation: SimulatedRun
    finished: Path | None = None


@dataclass(frozen=True)
class RunResult:
    """Result of a planned run.

    Parameters
    ----------
    planned : PlannedRun
        The run.
    status : str
        "completed", "failed", or `NOT_RUN`.
    reason : str
        Message of the error with which it failed.
    """

    planned: PlannedRun
    status: str
    reason: str = ""

    @property
    def run(self) -> Path:
        """The run folder; it does not exist if the run failed before making it."""
        return self.planned.finished or self.planned.simulation.run


@dataclass(frozen=True)
class Sweep:
    """Several strategies for one study, ready to run.

    Parameters
    ----------
    folder : Path
        ``<out>/<study>/<time>-<id>``, with the leaderboard, and the runs under `RUNS_FOLDER`.
    study : Study
        The study of the file and the overrides, before any strategy is set.
    runs : tuple of PlannedRun
        Runs in the order in which they are run: all strategies with one seed, then with the next.
    """

    folder: Path
    study: Study
    runs: tuple[PlannedRun, ...]

    @property
    def specs(self) -> tuple[StrategySpec, ...]:
        """The strategies, in the order of the command."""
        return tuple(dict.fromkeys(planned.spec for planned in self.runs))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, without repetitions."""
        return tuple(dict.fromkeys(planned.seed for planned in self.runs))


def plan_sweep(
    study: Path,
    data: Sequence[Path],
    out: Path,
    strategies: Sequence[str],
    seeds: Sequence[int] = (),
    overrides: Mapping[str, Scalar] | None = None,
    resume: Path | None = None,
) -> Sweep:
    """Read a study and plan every run of a sweep; nothing is started or written.

    Parameters
    ----------
    study : Path
        Folder of the study.
    data : sequence of Path
        Folders with the hospitals' data.
    out : Path
        Parent folder of sweeps.
    strategies : sequence of str
        Specifications as `parse_strategy_specs` takes them: ``"fedprox:mu=0.1"``, ``"fedavg+int8"``, ``"local"``.
    seeds : sequence of int
        Seeds of the study; empty for the study's own.
    overrides : mapping, optional
        Dotted keys of the study with other values, for every strategy.
    resume : Path, optional
        Folder of an earlier sweep, whose completed runs are used if they have the settings of those planned here.

    Returns
    -------
    Sweep

    Raises
    ------
    ConfigError
        If the sweep is invalid, with all problems of the study and of the strategies.
    DataError
        When there is no hospital in the data.
    RunError
        ``SWEEP-MISSING`` when there is no folder to resume.
    """
    if resume is not None and not (resume / RUNS_FOLDER).is_dir():
        raise RunError(
            "SWEEP-MISSING", f"{resume.name!r} is not the folder of a sweep.", "Leave --resume out to start a new one."
        )
    specs, problems = parse_strategy_specs(strategies)
    # no early stopping in a sweep: it would give a strategy that stalls fewer steps than the others
    base = plan_simulation(study, data, out, {"strategy.patience": 0, **(overrides or {})})
    folder = resume.resolve() if resume else out.resolve() / base.study.name / new_run_name()
    if problems := [*problems, *_check_specs(base, specs)]:
        raise ConfigError(problems)
    earlier = _completed_runs(folder / RUNS_FOLDER)
    runs = [
        _plan_run(base, spec, seed, folder / RUNS_FOLDER, earlier)
        for seed in dict.fromkeys(seeds or (base.study.seed,))
        for spec in specs
    ]
    return Sweep(folder, base.study, tuple(runs))


def run_sweep(sweep: Sweep, workers: int = 0) -> Iterator[RunResult]:
    """Run what is not finished yet, one run after the other, and yield the result of each.

    Parameters
    ----------
    sweep : Sweep
        What to run.
    workers : int
        Hospitals that train at the same time; 0: as many as the machine has cores for.

    Yields
    ------
    RunResult
        Also for runs that were finished before. A run that fails does not stop the others.

    Raises
    ------
    RunError
        ``DISK-FULL`` or ``RUN-FOLDER`` when the folder of the sweep cannot be made.
    """
    with translate_disk_errors("the folder of the sweep", "give the same command again"):
        (sweep.folder / RUNS_FOLDER).mkdir(parents=True, exist_ok=True)
    for planned in sweep.runs:
        reason = "" if planned.finished else _run_and_catch(planned.simulation, workers)
        yield RunResult(planned, "failed" if reason else "completed", reason)


def matched_rounds(spec: StrategySpec, rounds: int, sites: int) -> int:
    """Return the number of rounds in which a strategy takes as many steps as FedAvg in `rounds` rounds, rounded.

    Examples
    --------
    Ditto trains two models:

    >>> [ditto], _ = parse_strategy_specs(["ditto"])
    >>> matched_rounds(ditto, 10, sites=4)
    5
    """
    algorithm = ALGORITHMS.get(spec.name)
    return max(1, round(rounds / (algorithm.factor(sites) if algorithm else 1.0)))


def _run_and_catch(simulation: SimulatedRun, workers: int) -> str:
    """Run a simulation, and return the message of its failure, or an empty string."""
    try:
        simulation.start(workers=workers)
    except MedflError as error:
        return str(error)
    except Exception as error:  # a new strategy may raise anything, and the other runs must go on
        return f"{type(error).__name__}; 'medfl simulate' with this strategy alone shows the place."
    return ""


def _check_specs(base: SimulatedRun, specs: Sequence[StrategySpec]) -> Iterator[Problem]:
    """Yield every problem that the study or the table of strategies has with a specification."""
    for spec in specs:
        try:
            study = study_from_run_config(_run_config(base, spec, base.study.seed))
            if spec.name != LOCAL:
                build_strategy(study, study.quorum(enrolled=0))
        except ConfigError as error:
            yield from (_as_strategy_problem(spec, problem) for problem in error.problems)


def _as_strategy_problem(spec: StrategySpec, problem: Problem) -> Problem:
    where = "" if problem.key in ("(whole file)", "strategy.name") else f"{problem.key}: "
    return Problem("--strategies", spec.text, where + problem.what, problem.fix)


def _plan_run(
    base: SimulatedRun, spec: StrategySpec, seed: int, runs: Path, earlier: Sequence[tuple[Path, dict[str, Any]]]
) -> PlannedRun:
    name = f"{_slug(spec.text)}-seed-{seed}-{secrets.token_hex(3)}"  # never that of an earlier attempt
    config = _run_config(base, spec, seed) | {"server.out": str(runs), "server.run": name}
    app = app_from_run_config(config)
    simulation = dataclasses.replace(base, app=app, run_config=config, run=runs / app.study.name / name)
    finished = next((path for path, done in earlier if done == _comparable_config(app)), None)
    return PlannedRun(spec, seed, simulation, finished)


def _run_config(base: SimulatedRun, spec: StrategySpec, seed: int) -> dict[str, Scalar]:
    """Return the run configuration of one run, without options that the study gives to another strategy."""
    keep_options = spec.name in (LOCAL, base.study.strategy.name)
    config = {key: v for key, v in base.run_config.items() if keep_options or not key.startswith("strategy.options.")}
    rounds = matched_rounds(spec, base.study.rounds, len(base.sites))
    return config | {"arms": "federated", **spec.overrides, "seed": seed, "rounds": rounds}


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text)[:60]


def _completed_runs(runs: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return the folders of the completed runs of a sweep, each with its configuration."""
    completed = []
    for file in sorted(runs.glob("*/*/study.json")):
        with suppress(RunError):  # a damaged run does not count as completed
            run = Run.open(file.parent)
            if run_status(run.history.read()) == "completed":
                completed.append((run.path, _comparable_config(run.app)))
    return completed


def _comparable_config(app: StudyApp) -> dict[str, Any]:
    """Return the part of a configuration that decides the numbers of a run: not where prepared data lies, nor the server's."""
    return {"study": app.study.model_dump(mode="json"), "simulation": app.simulation.model_dump(mode="json", exclude={"store"})}
