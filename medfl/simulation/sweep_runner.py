"""A sweep: several strategies on one study, one after the other, with equal seeds and a matched budget of local steps.

With one seed all start from the same model, on the same split of the patients, and each hospital draws the same batches.
Matched is what ``train.steps`` sums up to: a strategy that takes more steps in a round than FedAvg gets so many fewer rounds.
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
from medfl.study import Study, study_from_run_config
from medfl.study.algorithms import ALGORITHMS
from medfl.study.study_file import Scalar

RUNS_FOLDER = "runs"  # in the folder of a sweep; below it lie the run folders as anywhere, <study>/<run>
NOT_RUN = "not run"  # status of a run whose turn did not come
_IRRELEVANT_KEYS = {
    "simulation": {"store"},
    "server": {"out", "run", "resume", "enrolled"},
}  # what may differ between two runs that are the same


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep.

    Parameters
    ----------
    spec : StrategySpec
        What is tried.
    seed : int
        Of the study.
    simulation : Simulation
        Ready to run.
    finished : Path or None
        The folder of an earlier run that was the same and completed.
    """

    spec: StrategySpec
    seed: int
    simulation: SimulatedRun
    finished: Path | None = None


@dataclass(frozen=True)
class RunResult:
    """What became of a planned run.

    Parameters
    ----------
    planned : PlannedRun
        Which.
    status : str
        "completed", "failed", or `NOT_RUN`.
    reason : str
        Why it failed.
    """

    planned: PlannedRun
    status: str
    reason: str = ""

    @property
    def run(self) -> Path:
        """The run folder; it is missing when the run did not get that far."""
        return self.planned.finished or self.planned.simulation.run


@dataclass(frozen=True)
class Sweep:
    """Several strategies on one study, ready to run.

    Parameters
    ----------
    folder : Path
        ``<out>/<study>/<time>-<id>``, with the leader board, and the runs under `RUNS_FOLDER`.
    study : Study
        As its file and the overrides say, before any strategy.
    runs : tuple of PlannedRun
        In the order in which they are run: a seed with all contenders, then the next.
    """

    folder: Path
    study: Study
    runs: tuple[PlannedRun, ...]

    @property
    def specs(self) -> tuple[StrategySpec, ...]:
        """What is tried, in the order of the command."""
        return tuple(dict.fromkeys(planned.spec for planned in self.runs))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, each once."""
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
    """Read a study and find out every run of a sweep; nothing is started or written.

    Parameters
    ----------
    study : Path
        Folder of the study.
    data : sequence of Path
        Folders with the hospitals' data.
    out : Path
        Folder under which sweeps are made.
    strategies : sequence of str
        As `parse_strategy_specs` takes them: ``"fedprox:mu=0.1"``, ``"fedavg+int8"``, ``"local"``.
    seeds : sequence of int
        Seeds of the study; the study's own unless given.
    overrides : mapping, optional
        Dotted keys of the study with other values, for every strategy.
    resume : Path, optional
        Folder of an earlier sweep, whose completed runs are taken over where they are the same as those planned here.

    Returns
    -------
    Sweep

    Raises
    ------
    ConfigError
        With everything that is wrong with the study, or with any of the strategies.
    DataError
        When there is no hospital in the data.
    RunError
        ``SWEEP-MISSING`` when there is no folder to resume.
    """
    if resume is not None and not (resume / RUNS_FOLDER).is_dir():
        raise RunError("SWEEP-MISSING", f"{resume.name!r} is no folder of a sweep.", "Leave --resume out to start a new one.")
    contenders, problems = parse_strategy_specs(strategies)
    # a sweep without early stopping: it would give a strategy that stalls fewer steps than the others
    base = plan_simulation(study, data, out, {"strategy.patience": 0, **(overrides or {})})
    folder = resume.resolve() if resume else out.resolve() / base.study.name / new_run_name()
    if problems := [*problems, *_check_specs(base, contenders)]:
        raise ConfigError(problems)
    earlier = _completed_runs(folder / RUNS_FOLDER)
    runs = [
        _plan_run(base, contender, seed, folder / RUNS_FOLDER, earlier)
        for seed in dict.fromkeys(seeds or (base.study.seed,))
        for contender in contenders
    ]
    return Sweep(folder, base.study, tuple(runs))


def run_sweep(sweep: Sweep, workers: int = 0) -> Iterator[RunResult]:
    """Run what is not finished yet, one run after the other, and yield what became of each.

    Parameters
    ----------
    sweep : Sweep
        What to run.
    workers : int
        Hospitals that work at the same time; 0: as many as the machine has cores for.

    Yields
    ------
    Result
        Of every run, those that were finished before too. A run that fails does not stop the others.
    """
    (sweep.folder / RUNS_FOLDER).mkdir(parents=True, exist_ok=True)
    for planned in sweep.runs:
        reason = "" if planned.finished else _run_and_catch(planned.simulation, workers)
        yield RunResult(planned, "failed" if reason else "completed", reason)


def matched_rounds(contender: StrategySpec, rounds: int, sites: int) -> int:
    """Return the rounds in which a strategy takes as many steps as FedAvg in `rounds`, to the nearest whole round.

    Examples
    --------
    Ditto trains two models:

    >>> [ditto], _ = read_contenders(["ditto"])
    >>> rounds_of(ditto, 10, sites=4)
    5
    """
    known = ALGORITHMS.get(contender.name)
    return max(1, round(rounds / (known.factor(sites) if known else 1.0)))


def _run_and_catch(simulation: SimulatedRun, workers: int) -> str:
    """Run a simulation, and return why it failed, if it did."""
    try:
        simulation.start(workers=workers)
    except MedflError as error:
        return str(error)
    except Exception as error:  # somebody's new strategy may raise anything, and the others are to be run nevertheless
        return f"{type(error).__name__}; 'medfl simulate' with this strategy alone shows where."
    return ""


def _check_specs(base: SimulatedRun, contenders: Sequence[StrategySpec]) -> Iterator[Problem]:
    """Yield everything that the study, or the table of strategies, has against a contender."""
    for contender in contenders:
        try:
            study = study_from_run_config(_run_config(base, contender, base.study.seed))
            if contender.name != LOCAL:
                build_strategy(study)
        except ConfigError as error:
            yield from (_as_strategy_problem(contender, problem) for problem in error.problems)


def _as_strategy_problem(contender: StrategySpec, problem: Problem) -> Problem:
    where = "" if problem.key in ("(whole file)", "strategy.name") else f"{problem.key}: "
    return Problem("--strategies", contender.text, where + problem.what, problem.fix)


def _plan_run(
    base: SimulatedRun, contender: StrategySpec, seed: int, runs: Path, earlier: Sequence[tuple[Path, dict[str, Any]]]
) -> PlannedRun:
    name = f"{_slug(contender.text)}-seed-{seed}-{secrets.token_hex(3)}"  # never that of an earlier try
    config = _run_config(base, contender, seed) | {"server.out": str(runs), "server.run": name}
    study = study_from_run_config(config)
    simulation = dataclasses.replace(base, study=study, run_config=config, run=runs / study.name / name)
    finished = next((path for path, done in earlier if done == _comparable_config(study)), None)
    return PlannedRun(contender, seed, simulation, finished)


def _run_config(base: SimulatedRun, contender: StrategySpec, seed: int) -> dict[str, Scalar]:
    """Return the run configuration for a contender; options that the study gives to another strategy are left out."""
    own = contender.name in (LOCAL, base.study.strategy.name)
    kept = {key: v for key, v in base.run_config.items() if own or not key.startswith("strategy.options.")}
    rounds = matched_rounds(contender, base.study.rounds, len(base.sites))
    return kept | {"simulation.arms": "federated", **contender.overrides, "seed": seed, "rounds": rounds}


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text)[:60]


def _completed_runs(runs: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return the completed runs of a sweep with what they ran."""
    found = []
    for file in sorted(runs.glob("*/*/study.json")):
        with suppress(RunError):  # a damaged run is no completed one
            run = Run.open(file.parent)
            if run_status(run.history.read()) == "completed":
                found.append((run.path, _comparable_config(run.study)))
    return found


def _comparable_config(study: Study) -> dict[str, Any]:
    """Return what decides the numbers of a run."""
    return study.model_dump(mode="json", exclude=_IRRELEVANT_KEYS)
