"""The configuration of a Flower app: a study, and beside it how the study is simulated and served."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from medfl.errors import ConfigError, Problem
from medfl.errors.validation import suggest_key
from medfl.schema import read_section
from medfl.study.installed_strategies import strategy_problems
from medfl.study.moved_keys import follow_moved_keys, split_moved_keys
from medfl.study.not_offered import say_what_is_not_offered
from medfl.study.plain_names import name_problems
from medfl.study.run_settings import Server, Simulation
from medfl.study.study import Study
from medfl.study.study_file import STUDY_FILE, Scalar, StudyFile, app_problems, flatten, read_study_file

_SIMULATION, _SERVER = "simulation", "server"  # the tables beside the study

_MAX_APPS = 64  # configurations that a process remembers
_apps: dict[frozenset[tuple[str, str]], tuple[Mapping[str, Any], StudyApp]] = {}  # with their tables, by the flat items

T = TypeVar("T")


@dataclass(frozen=True)
class StudyApp:
    """The whole configuration of a Flower app.

    Parameters
    ----------
    study : Study
        What to do: all that a hospital reads and approves.
    simulation : Simulation, optional
        How hospitals are simulated on one machine.
    server : Server, optional
        What the server alone reads.
    simulated_sites : tuple of str
        Names of the hospitals in the data of the simulation, once they are known.
    """

    study: Study
    simulation: Simulation = field(default_factory=Simulation)
    server: Server = field(default_factory=Server)
    simulated_sites: tuple[str, ...] = ()

    @property
    def is_simulation(self) -> bool:
        """Whether the sites are simulated: a server that enrolled real ones simulates none, whatever else it reads."""
        return bool(self.simulation.data) and not self.server.enrolled

    @property
    def quorum(self) -> int:
        """Replies that a round needs to count, with the sites that are enrolled, or simulated and not external."""
        trains = set(self.simulated_sites) - set(self.study.evaluation.external)
        return self.study.quorum(len(self.server.enrolled) or len(trains))


def read_app(source: Path | StudyFile, overrides: Mapping[str, Scalar] | None = None) -> StudyApp:
    """Read and validate the configuration in the folder of a study, for whoever will run it.

    Parameters
    ----------
    source : Path or StudyFile
        Folder with a ``pyproject.toml`` that is a Flower app, or that file, or what was read of it.
    overrides : mapping, optional
        Dotted keys that replace values of the file, as ``flwr run --run-config`` does.

    Returns
    -------
    StudyApp

    Raises
    ------
    ConfigError
        If the file is invalid, with all its problems; one of them may be a strategy that is not installed here.
    """
    return read_app_and_run_config(source, overrides)[0]


def read_app_and_run_config(
    source: Path | StudyFile, overrides: Mapping[str, Scalar] | None = None
) -> tuple[StudyApp, dict[str, Scalar]]:
    """Read a configuration as `read_app` does, and return it as Flower's flat run configuration as well."""
    return _read(source, overrides, strategy_problems)


def read_study(source: Path | StudyFile, overrides: Mapping[str, Scalar] | None = None) -> Study:
    """Read the study in a folder as `read_app` does, also where the strategy that it names is not installed."""
    return _read(source, overrides, lambda name: ())[0].study


def read_recorded_study(folder: Path) -> tuple[Study, bool]:
    """Read a study that was valid for this version of medfl or an earlier one, and say whether it is for this one."""
    file = read_study_file(folder)
    followed = file.document_with(follow_moved_keys(file.app["config"]))
    is_current = followed == file.document
    recorded = file if is_current else replace(file, document=followed)
    return _read(recorded, None, lambda name: (), check_names=False)[0].study, is_current


def app_from_run_config(run_config: Mapping[str, Scalar]) -> StudyApp:
    """Read the configuration that Flower hands to an app, flat.

    A process validates each configuration once; apps may ask for the same one with every message.

    Raises
    ------
    ConfigError
        If it is invalid, with all its problems.
    """
    nested: dict[str, Any] = {}
    for key, value in run_config.items():
        _set_nested(nested, key, value)
    app = _validate(nested, run_config, "run configuration")
    if problems := name_problems(app.study.task, "run configuration"):
        raise ConfigError(problems)
    return app


def study_from_run_config(run_config: Mapping[str, Scalar]) -> Study:
    """Read the study alone as `app_from_run_config` does; keys of the other tables must be right all the same."""
    return app_from_run_config(run_config).study


def _read(
    source: Path | StudyFile,
    overrides: Mapping[str, Scalar] | None,
    check_strategy: Callable[[object], tuple[Problem, ...]],
    *,
    check_names: bool = True,
) -> tuple[StudyApp, dict[str, Scalar]]:
    file = source if isinstance(source, StudyFile) else read_study_file(source)
    values = dict(file.app["config"])
    for key, value in (overrides or {}).items():
        _override(values, key, value)
    run_config = flatten(values)
    problems = [*app_problems(file, values), *check_strategy(run_config.get("strategy.name", "fedavg"))]
    app = _collect(problems, lambda: _validate(values, run_config, STUDY_FILE))
    if app and check_names:
        problems += name_problems(app.study.task, STUDY_FILE)
    if app is None or problems:
        raise ConfigError(problems)
    return app, run_config


def _validate(values: Mapping[str, Any], run_config: Mapping[str, Scalar], file: str) -> StudyApp:
    """Return the configuration of nested tables: a new one, or what this process made of the same tables before.

    The tables come from a server or a user, and may be nested too deeply for anything that calls itself. So they are looked up
    by their flat items, and compared with those of a configuration that was found valid.
    """
    content = frozenset((key, repr(value)) for key, value in run_config.items())
    before, app = _apps.get(content, (None, None))
    if app is None or before != values:  # tables that differ in empty tables or in quoted dots have the same flat items
        app = _read_tables(values, file)
        if len(_apps) >= _MAX_APPS:
            _apps.clear()
        _apps[content] = values, app
    return app


def _read_tables(values: Mapping[str, Any], file: str) -> StudyApp:
    tables, problems = split_moved_keys(values, file)
    simulation, server = tables.pop(_SIMULATION, {}), tables.pop(_SERVER, {})
    study = _collect(problems, lambda: read_section(Study, tables, file, beside=(_SIMULATION, _SERVER)))
    simulated = _collect(problems, lambda: read_section(Simulation, simulation, file, table=_SIMULATION))
    served = _collect(problems, lambda: read_section(Server, server, file, table=_SERVER))
    if study and study.task.channel_count > 1 and not study.task.channel_names:
        what = (
            f"{study.task.channels} says how many, but not which; hospitals would take different images for the same channel."
        )
        problems.append(Problem(file, "task.channels", what, 'Name them in order, for example channels = "T1,FLAIR".'))
    if study and simulated:
        told = simulated.task_problems(study.task)
        problems += [Problem(file, f"{_SIMULATION}.{key}", f"{what}.") for key, what in told]
    if study is None or simulated is None or served is None or problems:
        raise ConfigError([say_what_is_not_offered(problem, values) for problem in problems])
    return StudyApp(study, simulated, served)


def _collect(problems: list[Problem], read: Callable[[], T]) -> T | None:
    """Return what is read; if that is invalid, add its problems to those that are known and return None."""
    try:
        return read()
    except ConfigError as error:
        problems += error.problems
        return None


def _override(values: dict[str, Any], key: str, value: Scalar) -> None:
    """Set a dotted key; the tables inside `values` stay as they are, and copies of them take their places."""
    inside = values
    for table in key.split(".")[:-1]:
        if not isinstance(inside.get(table), dict):
            break
        inside[table] = inside = dict(inside[table])
    _set_nested(values, key, value)


def _set_nested(values: dict[str, Any], key: str, value: Scalar) -> None:
    *tables, last = key.split(".")
    inside = values
    for table in tables:
        inner = inside.setdefault(table, {})
        if not isinstance(inner, dict):
            raise ConfigError([Problem(STUDY_FILE, key, f"{table!r} is not a table.", suggest_key(table, set(values)))])
        inside = inner
    inside[last] = value
