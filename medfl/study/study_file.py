"""Reader of studies, from the pyproject.toml of a folder or from the run configuration that Flower hands to an app."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medfl.errors import ConfigError, Problem
from medfl.schema import read_section, suggest_key
from medfl.study.study import Study

STUDY_FILE = "pyproject.toml"
COMPONENTS = {"serverapp": "medfl.server_app:app", "clientapp": "medfl.client_app:app"}

Scalar = bool | int | float | str

_MAX_STUDIES = 64  # studies that a process remembers
_studies: dict[frozenset[tuple[str, str]], tuple[Mapping[str, Any], Study]] = {}  # with their tables, by the flat items


@dataclass(frozen=True, eq=False)
class StudyFile:
    """The pyproject.toml of a study, read once: whatever needs its text, its tables or its study gets them from here.

    Parameters
    ----------
    folder : Path
        Folder of the study.
    text : str
        The text, with its own line ends.
    document : mapping
        All tables, among them ``tool.flwr.app.config``.
    """

    folder: Path
    text: str
    document: Mapping[str, Any]

    @property
    def app(self) -> Mapping[str, Any]:
        """The table of the Flower app."""
        app: Mapping[str, Any] = self.document["tool"]["flwr"]["app"]
        return app

    def document_with(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return all tables, with another configuration of the app."""
        tool, flwr = self.document["tool"], self.document["tool"]["flwr"]
        return {**self.document, "tool": {**tool, "flwr": {**flwr, "app": {**self.app, "config": dict(config)}}}}


def read_study(source: Path | StudyFile, overrides: Mapping[str, Scalar] | None = None) -> Study:
    """Read and validate the study in a folder.

    Parameters
    ----------
    source : Path or StudyFile
        Folder with a ``pyproject.toml`` that is a Flower app, or that file, or what was read of it.
    overrides : mapping, optional
        Dotted keys that replace values of the file, as ``flwr run --run-config`` does.

    Returns
    -------
    Study

    Raises
    ------
    ConfigError
        If the file is invalid, with all its problems.
    """
    return read_study_and_run_config(source, overrides)[0]


def read_study_and_run_config(
    source: Path | StudyFile, overrides: Mapping[str, Scalar] | None = None
) -> tuple[Study, dict[str, Scalar]]:
    """Read a study as `read_study` does, and return its flat run configuration as well."""
    file = source if isinstance(source, StudyFile) else read_study_file(source)
    values = dict(file.app["config"])
    for key, value in (overrides or {}).items():
        _override(values, key, value)
    problems = list(_check_app(file.app, values, file.document.get("project", {})))
    run_config = flatten(values)
    try:
        study = _validate(values, run_config, STUDY_FILE)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from None
    if problems:
        raise ConfigError(problems)
    return study, run_config


def study_folder(path: Path) -> Path:
    """Return the folder of a study, which may be named by its pyproject.toml."""
    return path.parent if path.name == STUDY_FILE and path.is_file() else path


def read_run_config(folder: Path) -> dict[str, Scalar]:
    """Return the flat run configuration of a study folder, as Flower hands it to an app (``a.b.c`` keys)."""
    return flatten(read_study_file(folder).app["config"])


def study_from_run_config(run_config: Mapping[str, Scalar]) -> Study:
    """Read a study from the flat run configuration of a Flower app.

    A process validates each configuration once; apps may ask for the same study with every message.

    Raises
    ------
    ConfigError
        If the study is invalid, with all its problems.
    """
    nested: dict[str, Any] = {}
    for key, value in run_config.items():
        _set_nested(nested, key, value)
    return _validate(nested, run_config, "run configuration")


def flatten(values: Mapping[str, Any]) -> dict[str, Scalar]:
    """Flatten nested tables to dotted keys, however deeply they are nested.

    Examples
    --------
    >>> flatten({"rounds": 2, "task": {"kind": "segmentation"}})
    {'rounds': 2, 'task.kind': 'segmentation'}
    """
    flat: dict[str, Scalar] = {}
    stack = list(values.items())[::-1]
    while stack:
        key, value = stack.pop()
        if isinstance(value, Mapping):
            stack += [(f"{key}.{inner}", each) for inner, each in value.items()][::-1]
        else:
            flat[key] = value
    return flat


def read_study_file(folder: Path) -> StudyFile:
    """Read the pyproject.toml of a study, which has a ``tool.flwr.app.config`` table; the study is not validated yet.

    Raises
    ------
    ConfigError
        When the file is missing, not valid TOML, or not a study.
    """
    path = study_folder(folder) / STUDY_FILE
    try:
        text = path.read_bytes().decode("utf-8")
        document = tomllib.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        fix = "Name the folder of a study, for example sample_configs/hippocampus."
        raise ConfigError([Problem(STUDY_FILE, "(whole file)", _missing_message(folder), fix)]) from None
    except OSError as error:
        what = f"this file cannot be read: {error.strerror or type(error).__name__}."
        raise ConfigError([Problem(STUDY_FILE, "(whole file)", what)]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(STUDY_FILE, "(whole file)", f"this is not valid TOML: {error}.")]) from None
    if "config" not in document.get("tool", {}).get("flwr", {}).get("app", {}):
        raise ConfigError([Problem(STUDY_FILE, "tool.flwr.app.config", "this table is missing, so the file is not a study.")])
    return StudyFile(path.parent, text, document)


def _validate(values: Mapping[str, Any], run_config: Mapping[str, Scalar], file: str) -> Study:
    """Return the study of nested tables: a new one, or the one that this process made of the same tables before.

    The tables come from a server or a user, and may be nested too deeply for anything that calls itself. So they are looked up
    by their flat items, and compared with those of a study that was found valid.
    """
    content = frozenset((key, repr(value)) for key, value in run_config.items())
    before, study = _studies.get(content, (None, None))
    if study is None or before != values:  # tables that differ in empty tables or in quoted dots have the same flat items
        study = read_section(Study, values, file)
        if len(_studies) >= _MAX_STUDIES:
            _studies.clear()
        _studies[content] = values, study
    return study


def _missing_message(folder: Path) -> str:
    if folder.is_dir():
        return f"there is no such file in the folder {str(folder)!r}."
    return (
        f"{str(folder)!r} is {'a file' if folder.exists() else 'not there, neither as a folder nor as a file'}, and no study."
    )


def _check_app(app: Mapping[str, Any], config: Mapping[str, Any], project: Mapping[str, Any]) -> Iterator[Problem]:
    components = app.get("components", {})
    name, project_name = config.get("name"), project.get("name", "")
    if project.get("dependencies"):
        yield Problem(
            STUDY_FILE, "project.dependencies", "a study names no packages: Flower would fetch them.", "Leave the key out."
        )
    if name is not None and name != project_name:
        yield Problem(STUDY_FILE, "tool.flwr.app.config.name", f"came {name!r}, must be the project's name {project_name!r}.")
    yield from (
        Problem(
            STUDY_FILE,
            f"tool.flwr.app.components.{key}",
            f"came {components.get(key)!r}, must be {value!r}: a study holds no code.",
        )
        for key, value in COMPONENTS.items()
        if components.get(key) != value
    )


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
