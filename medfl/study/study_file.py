"""The file of a study: the pyproject.toml of a Flower app without code. `medfl.study.study_app` reads the study in it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medfl.errors import ConfigError, Problem

STUDY_FILE = "pyproject.toml"
COMPONENTS = {"serverapp": "medfl.server_app:app", "clientapp": "medfl.client_app:app"}

Scalar = bool | int | float | str


@dataclass(frozen=True, eq=False)
class StudyFile:
    """The pyproject.toml of a study, read once: whatever needs its text or its tables gets them from here.

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


def make_study_file(name: str, run_config: Mapping[str, Scalar]) -> StudyFile:
    """Make the file of a study of which the valid, flat run configuration alone is known; it is in no folder."""
    config: dict[str, Any] = {}
    for key, value in run_config.items():
        *tables, last = key.split(".")
        inside = config
        for table in tables:
            inside = inside.setdefault(table, {})
        inside[last] = value
    app = {"publisher": "medfl", "components": dict(COMPONENTS), "config": config}
    document = {"project": {"name": name, "version": "1.0.0"}, "tool": {"flwr": {"app": app}}}
    return StudyFile(Path(), "", document)


def study_folder(path: Path) -> Path:
    """Return the folder of a study, which may be named by its pyproject.toml."""
    return path.parent if path.name == STUDY_FILE and path.is_file() else path


def read_run_config(folder: Path) -> dict[str, Scalar]:
    """Return the flat run configuration of a study folder, as Flower hands it to an app (``a.b.c`` keys)."""
    return flatten(read_study_file(folder).app["config"])


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


def _missing_message(folder: Path) -> str:
    if folder.is_dir():
        return f"there is no such file in the folder {str(folder)!r}."
    return (
        f"{str(folder)!r} is {'a file' if folder.exists() else 'not there, neither as a folder nor as a file'}, and no study."
    )


def app_problems(file: StudyFile, config: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with the file as a Flower app without code, whatever its configuration says.

    Parameters
    ----------
    file : StudyFile
        The file.
    config : mapping
        Its configuration with every override; of it the name alone counts here.
    """
    components, project = file.app.get("components", {}), file.document.get("project", {})
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
