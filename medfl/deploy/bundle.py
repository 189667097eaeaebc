"""Bundle of a study: a Flower app archive (FAB) that holds data and no code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from medfl.deploy.untrusted_bundle import read_bundle, read_untrusted_study
from medfl.errors import ConfigError, DeployError, Problem
from medfl.flower import compat
from medfl.strategies.strategy_registry import build_strategy
from medfl.study import Server, Study, flatten, read_app, read_study, read_study_file
from medfl.study.study_file import STUDY_FILE, Scalar
from medfl.system.files import translate_disk_errors, write_file

_BESIDE = ("simulation.", "server.")  # tables of what no hospital reads
_COPIED_FILES = ("README.md", "LICENSE", "NOTICE")


def write_app(folder: Path, overrides: Mapping[str, Scalar], app: Path) -> Study:
    """Write the Flower app of a study as a federation runs it: with the overrides, without the settings of the simulation.

    Parameters
    ----------
    folder : Path
        Folder of the study.
    overrides : mapping
        Dotted keys of the study with other values.
    app : Path
        Folder to create; the same study and overrides give the same bytes.

    Returns
    -------
    Study
        What hospitals will be asked to approve.

    Raises
    ------
    ConfigError
        When the study, or a setting beside it, is wrong.
    DeployError
        ``BUNDLE-FAILED`` when what was written is not the study.
    """
    study = _write_app(folder, overrides, app)
    _require_same(read_study(app), study)
    return study


def build_bundle(folder: Path, overrides: Mapping[str, Scalar], out: Path) -> tuple[Path, Study]:
    """Build the bundle of a study, to be sent to the hospitals.

    Parameters
    ----------
    folder : Path
        Folder of the study.
    overrides : mapping
        Dotted keys of the study with other values; they become part of the bundle.
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
        ``BUNDLE-FAILED`` when Flower cannot build it, or what a hospital would read in it is not the study.
    RunError
        ``DISK-FULL`` or ``RUN-FOLDER`` when it cannot be written.
    """
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        study = _write_app(folder, overrides, work / "app")
        environment = os.environ | {"FLWR_HOME": str(work / "flwr")}
        compat.disable_telemetry(environment)
        command = [str(Path(sys.executable).parent / "flwr"), "build", "--app", str(work / "app")]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
        bundles = sorted(work.rglob("*.fab"))
        if done.returncode or len(bundles) != 1:
            raise DeployError("BUNDLE-FAILED", "Flower could not build a bundle of this study.", "See what 'flwr build' says.")
        _require_same(read_bundle_study(bundles[0]), study)
        path = out / f"{study.name}.fab"
        with translate_disk_errors(f"the bundle in {out}", "give the same command again"):
            out.mkdir(parents=True, exist_ok=True)
            write_file(path, bundles[0].read_bytes())
    return path, study


def read_bundle_study(path: Path) -> Study:
    """Return the study of a bundle, or of a study's folder.

    Raises
    ------
    PolicyError
        For the same reasons as in `read_bundle`.
    ConfigError
        When the study is wrong, or there is no such file.
    """
    if path.is_dir() or path.name == STUDY_FILE:
        return read_study(path)
    try:
        content = path.read_bytes()
    except OSError:
        raise ConfigError(
            [Problem(path.name, "(whole file)", "this is not a bundle that can be read.", "Name a .fab file.")]
        ) from None
    return read_untrusted_study(read_bundle(content).config)


def _write_app(folder: Path, overrides: Mapping[str, Scalar], app: Path) -> Study:
    study_file = read_study_file(folder)
    study = read_app(study_file, overrides).study
    study.check_real()
    build_strategy(study, study.min_quorum)  # refuses options that the strategy of another package does not take
    config = flatten(study_file.app["config"]) | dict(overrides)
    config = {key: value for key, value in config.items() if not key.startswith(_BESIDE)} | _server_defaults()
    app.mkdir(parents=True)
    (app / STUDY_FILE).write_text(tomli_w.dumps(study_file.document_with(_unflatten(config))), encoding="utf-8")
    for name in _COPIED_FILES:
        if (study_file.folder / name).is_file():
            shutil.copyfile(study_file.folder / name, app / name)
    return study


def _require_same(written: Study, study: Study) -> None:
    """Refuse what was written unless it reads as the study: hospitals approve the one by the hash of the other."""
    if written != study:
        what = "the study is another one when it is read back from what was written."
        raise DeployError("BUNDLE-FAILED", what, "Report it with the pyproject.toml of the study; nothing was handed on.")


def _server_defaults() -> dict[str, Scalar]:
    """Return the keys of the table `server`, of which Flower lets a run set only those that the bundle has."""
    defaults: dict[str, Any] = Server().model_dump(by_alias=True)
    return {f"server.{key}": ",".join(value) if isinstance(value, tuple) else value for key, value in defaults.items()}


def _unflatten(config: Mapping[str, Scalar]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in sorted(config.items()):
        *tables, last = key.split(".")
        table = nested
        for name in tables:
            table = table.setdefault(name, {})
        table[last] = value
    return nested
