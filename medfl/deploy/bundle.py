"""A study's bundle: an app archive of Flower's (FAB) that holds data and no code.

A bundle is read in memory. Nothing of it is written to disk, imported, or put on the path of the interpreter.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from medfl import flower_compat
from medfl.errors import ConfigError, DeployError, PolicyError, Problem
from medfl.study import Study, flatten, read_study, study_folder, study_from_run_config
from medfl.study.reading import COMPONENTS, FILE, Scalar, app_document
from medfl.study.sections import Server

_MOST_BYTES, _MOST_FILES = 10 * 2**20, 200  # Flower takes no bundle above 10 MiB
_HARMLESS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.(toml|json|jsonl|yaml|yml|md)|LICENSE(\.txt|\.md)?|NOTICE(\.txt)?")
_FOLDER = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*")
_CONTENT = ".info/CONTENT"  # Flower's list of the files
_KEPT = ("README.md", "LICENSE", "NOTICE")


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read and holds no code.

    Parameters
    ----------
    config : dict
        Its flat run configuration.
    project : str
        Name of the study's project.
    """

    config: dict[str, Scalar]
    project: str


def write_app(folder: Path, overrides: Mapping[str, Scalar], app: Path) -> Study:
    """Write the Flower app of a study as a federation runs it: with the overrides, without what only a simulation reads.

    Parameters
    ----------
    folder : Path
        Of the study.
    overrides : mapping
        Dotted keys of the study with other values.
    app : Path
        Folder to make; the same study and overrides give the same bytes.

    Returns
    -------
    Study
        What hospitals will be asked to approve.
    """
    document = app_document(folder)
    config = flatten(document["tool"]["flwr"]["app"]["config"]) | dict(overrides)
    arms = config.get("simulation.arms", "federated")
    config = {key: value for key, value in config.items() if not key.startswith(("simulation.", "server."))}
    config |= {"simulation.arms": arms, **{f"server.{key}": value for key, value in _empty_server().items()}}
    document["tool"]["flwr"]["app"]["config"] = _nested(config)
    app.mkdir(parents=True)
    (app / FILE).write_text(tomli_w.dumps(document), encoding="utf-8")
    for name in _KEPT:
        if (study_folder(folder) / name).is_file():
            shutil.copyfile(study_folder(folder) / name, app / name)
    return read_study(app)


def build_bundle(folder: Path, overrides: Mapping[str, Scalar], out: Path) -> tuple[Path, Study]:
    """Make the bundle of a study, to be sent to the hospitals.

    Parameters
    ----------
    folder : Path
        Of the study.
    overrides : mapping
        Dotted keys with other values; they become part of the bundle.
    out : Path
        Folder to write ``<study>.fab`` to.

    Returns
    -------
    Path
        The bundle.
    Study
        What is in it.

    Raises
    ------
    ConfigError
        When the study is wrong.
    DeployError
        ``BUNDLE-FAILED`` when Flower does not make it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        study = write_app(folder, overrides, place / "app")
        environment = os.environ | {"FLWR_HOME": str(place / "flwr")}
        flower_compat.be_quiet(environment)
        command = [str(Path(sys.executable).parent / "flwr"), "build", "--app", str(place / "app")]
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
        made = sorted(place.rglob("*.fab"))
        if done.returncode or len(made) != 1:
            raise DeployError("BUNDLE-FAILED", "Flower did not make a bundle of this study.", "See what 'flwr build' says.")
        read_bundle(made[0].read_bytes())
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"{study.name}.fab"
        shutil.copyfile(made[0], path)
    return path, study


def read_bundle(content: bytes) -> Bundle:
    """Read a bundle and refuse it unless it holds data alone.

    Parameters
    ----------
    content : bytes
        The archive.

    Raises
    ------
    PolicyError
        ``BUNDLE-DAMAGED``, ``BUNDLE-CODE`` when it holds a file that is no configuration or text, ``BUNDLE-COMPONENTS`` when it
        names other apps than medfl's or packages to install.
    """
    if len(content) > _MOST_BYTES:
        raise _damaged()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _require_data(archive.infolist())
            document = tomllib.loads(archive.read(FILE).decode("utf-8"))
        app, project = document["tool"]["flwr"]["app"], document["project"]
        config, components = flatten(app.get("config", {})), app["components"]
    except PolicyError:
        raise
    except Exception:  # the bytes are a stranger's: whatever their reading ends in, they are refused
        raise _damaged() from None
    if components != COMPONENTS or project.get("dependencies") or not isinstance(project.get("name"), str):
        what = "the bundle names other apps than medfl's own, or packages to install."
        raise PolicyError("BUNDLE-COMPONENTS", what, "A study holds no code; ask for a bundle that 'medfl study bundle' made.")
    return Bundle(config, project["name"])


def study_in(path: Path) -> Study:
    """Return the study of a bundle, or of a study's folder as `build_bundle` would put it into one.

    Raises
    ------
    PolicyError
        As `read_bundle` does.
    ConfigError
        When the study is wrong, or there is no such file.
    """
    if path.is_dir() or path.name == FILE:
        with tempfile.TemporaryDirectory() as scratch:
            return write_app(path, {}, Path(scratch) / "app")
    try:
        content = path.read_bytes()
    except OSError:
        raise ConfigError(
            [Problem(path.name, "(whole file)", "there is no bundle that can be read.", "Name a .fab.")]
        ) from None
    return study_from_run_config(read_bundle(content).config)


def _require_data(entries: list[zipfile.ZipInfo]) -> None:
    names = [entry.filename for entry in entries]
    if len(names) > _MOST_FILES or len({name.casefold() for name in names}) != len(names):
        raise _damaged()
    if sum(entry.file_size for entry in entries) > _MOST_BYTES:
        raise _damaged()
    wrong = [entry for entry in entries if not _is_data(entry)]
    if wrong:
        what = f"the bundle holds {len(wrong)} files that are neither configuration nor text."
        raise PolicyError("BUNDLE-CODE", what, "A study holds no code; nothing of this bundle was used.")


def _is_data(entry: zipfile.ZipInfo) -> bool:
    """Say whether an entry is a plain file of a harmless kind in a plain place."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG) or entry.flag_bits & 1:
        return False
    if entry.filename == _CONTENT:
        return True
    *folders, name = entry.filename.split("/")
    return bool(_HARMLESS.fullmatch(name)) and all(_FOLDER.fullmatch(f) and set(f) != {"."} for f in folders)


def _empty_server() -> dict[str, Scalar]:
    found: dict[str, Any] = Server().model_dump(by_alias=True)
    return {key: ",".join(value) if isinstance(value, tuple) else value for key, value in found.items()}


def _nested(config: Mapping[str, Scalar]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in sorted(config.items()):
        *tables, last = key.split(".")
        here = nested
        for table in tables:
            here = here.setdefault(table, {})
        here[last] = value
    return nested


def _damaged() -> PolicyError:
    return PolicyError("BUNDLE-DAMAGED", "the bundle can not be read.", "Ask for it again; 'medfl study bundle' makes one.")
