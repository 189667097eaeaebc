"""Sweep of several strategies over one study, one after the other, with equal seeds and a matched budget of local steps.

With the same seed all start from the same model and the same split of the patients, and each hospital draws the same batches.
The budget is the sum of ``train.steps``: a strategy that takes twice the steps of FedAvg in a round gets half the rounds.
"""

from __future__ import annotations

import dataclasses
import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from medfl.errors import ConfigError, MedflError, RunError
from medfl.runs.run_folder import new_run_name
from medfl.simulation.earlier_runs import EarlierRun, PresentData, comparable_config, earlier_runs
from medfl.simulation.matched_runs import check_seeds, check_specs, config_of
from medfl.simulation.resumed_run import plan_resumption
from medfl.simulation.simulated_run import SimulatedRun, plan_simulation
from medfl.simulation.strategy_specs import LOCAL, StrategySpec, parse_strategy_specs, specs_of_arms
from medfl.study import Study, app_from_run_config
from medfl.study.study_file import Scalar, StudyFile, make_study_file
from medfl.system.files import translate_disk_errors, write_file

SWEEP_FILE = "sweep.json"  # in the folder of a sweep: all that is needed to go on with it
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
        Folder of an earlier run that had the same settings and data and completed.
    has_other_data : bool
        Whether there is an earlier run with the same settings that was trained on other data, and does not count.
    """

    spec: StrategySpec
    seed: int
    simulation: SimulatedRun
    finished: Path | None = None
    has_other_data: bool = False

    @property
    def rounds(self) -> int:
        """Rounds of all arms, one after the other."""
        study = self.simulation.study
        return sum(study.rounds_of(arm) for arm in study.arms)


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
    run_config : dict
        The study as Flower's flat run configuration.
    arms : tuple of str
        Arms that are compared (`medfl.study.arms`); empty where strategies are ranked.
    """

    folder: Path
    study: Study
    runs: tuple[PlannedRun, ...]
    run_config: dict[str, Scalar]
    arms: tuple[str, ...] = ()

    @property
    def specs(self) -> tuple[StrategySpec, ...]:
        """The strategies, in the order of the command."""
        return tuple(dict.fromkeys(planned.spec for planned in self.runs))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, without repetitions."""
        return tuple(dict.fromkeys(planned.seed for planned in self.runs))

    @property
    def advice_on_splits(self) -> str:
        """What to know where each seed divides the patients anew; empty where all runs have the same splits."""
        if len(self.seeds) == 1 or self.study.split_seed is not None:
            return ""
        return (
            "Each seed divides the patients anew, so scores differ by that as well; to keep the splits of this study, add "
            f"--set split-seed={self.study.seed}."
        )


def plan_sweep(
    study: Path | StudyFile,
    data: Sequence[Path],
    out: Path,
    strategies: Sequence[str],
    seeds: Sequence[int] = (),
    overrides: Mapping[str, Scalar] | None = None,
    resume: Path | None = None,
    arms: Sequence[str] = (),
    *,
    folder: Path | None = None,
) -> Sweep:
    """Read a study and plan every run of a sweep; nothing is started or written.

    Parameters
    ----------
    study : Path or StudyFile
        Folder of the study, or what was read of it.
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
        Folder of an earlier sweep. Of its runs with the settings and the data of those planned here, those that are completed
        are used, and those that broke off go on after their last complete round.
    arms : sequence of str
        Arms to compare with each other; empty to rank the strategies.
    folder : Path, optional
        Folder of the sweep where it is given, new or with earlier runs as in one that is resumed; else a new one under `out`.

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
    if arms:
        specs = specs_of_arms(specs, arms)
    # no early stopping in a sweep: it would give a strategy that stalls fewer steps than the others
    base = plan_simulation(study, data, out, {"strategy.patience": 0, **(overrides or {})})
    folder = resume.resolve() if resume else folder or out.resolve() / base.study.name / new_run_name()
    if problems := [*problems, *check_specs(base, specs), *check_seeds(base.study, seeds)]:
        raise ConfigError(problems)
    earlier, present = earlier_runs(folder / RUNS_FOLDER), PresentData()
    runs = [
        _plan_run(base, spec, seed, folder / RUNS_FOLDER, earlier, present)
        for seed in dict.fromkeys(seeds or (base.study.seed,))
        for spec in specs
    ]
    return Sweep(folder, base.study, tuple(runs), base.run_config, tuple(arms))


def plan_sweep_resumption(folder: Path) -> Sweep:
    """Plan what is left of a sweep that broke off, with its own study, data, strategies and seeds.

    Raises
    ------
    RunError
        ``SWEEP-MISSING`` when this is not the folder of a sweep.
    ConfigError, DataError
        As in `plan_sweep`.
    """
    try:
        record = json.loads((folder / SWEEP_FILE).read_bytes())
        strategies, seeds, config = record["strategies"], record["seeds"], record["config"]
        arms = record.get("arms", [])
    except (OSError, ValueError, KeyError, TypeError):
        raise RunError("SWEEP-MISSING", f"{folder.name!r} is not the folder of a sweep.", "Start a new one.") from None
    study = make_study_file(str(config["name"]), config)
    return plan_sweep(study, [], folder.parent.parent, strategies, seeds, resume=folder, arms=arms)


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
    make_sweep_folder(sweep)
    for planned in sweep.runs:
        reason = "" if planned.finished else _run_and_catch(planned.simulation, workers)
        yield RunResult(planned, "failed" if reason else "completed", reason)


def make_sweep_folder(sweep: Sweep) -> None:
    """Make the folder of a sweep, with all that is needed to go on with it.

    Raises
    ------
    RunError
        ``DISK-FULL`` or ``RUN-FOLDER``.
    """
    with translate_disk_errors("the folder of the sweep", "give the same command again"):
        (sweep.folder / RUNS_FOLDER).mkdir(parents=True, exist_ok=True)
    strategies = [spec.text for spec in sweep.specs if not (sweep.arms and spec.name == LOCAL)]
    record = {"strategies": strategies, "seeds": sweep.seeds, "config": sweep.run_config, "arms": sweep.arms}
    with translate_disk_errors("the folder of the sweep"):
        write_file(sweep.folder / SWEEP_FILE, json.dumps(record, indent=1).encode())


def _run_and_catch(simulation: SimulatedRun, workers: int) -> str:
    """Run a simulation, and return the message of its failure, or an empty string."""
    try:
        simulation.start(workers=workers)
    except MedflError as error:
        return str(error)
    except Exception as error:  # a new strategy may raise anything, and the other runs must go on
        return f"{type(error).__name__}; 'medfl simulate' with this strategy alone shows the place."
    return ""


def _plan_run(
    base: SimulatedRun, spec: StrategySpec, seed: int, runs: Path, earlier: Sequence[EarlierRun], present: PresentData
) -> PlannedRun:
    name = f"{_slug(spec.text)}-seed-{seed}-{secrets.token_hex(3)}"  # never that of an earlier attempt
    config = config_of(base, spec, seed) | {"server.out": str(runs), "server.run": name}
    app = app_from_run_config(config)
    simulation = dataclasses.replace(base, app=app, run_config=config, run=runs / app.study.name / name)
    alike = [done for done in earlier if done.config == comparable_config(app)]
    same = [done for done in alike if present.matches(done.data, simulation)]
    finished = next((done.path for done in same if done.status == "completed"), None)
    for done in same if finished is None else ():
        if done.status in ("interrupted", "stopped"):
            with suppress(RunError):  # it cannot go on to the same numbers, so it starts anew
                simulation = plan_resumption(done.path)
    return PlannedRun(spec, seed, simulation, finished, has_other_data=finished is None and len(same) < len(alike))


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text)[:60]
