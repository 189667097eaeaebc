"""The configuration of a Flower app: the study, and how it is simulated and served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medfl.study.sections import Server, Simulation
from medfl.study.study import Study
from medfl.study.study_file import Scalar, StudyFile, read_study, study_from_run_config


@dataclass(frozen=True)
class StudyApp:
    """The whole configuration of a Flower app.

    Parameters
    ----------
    study : Study
        What to do: all that a hospital reads and approves.
    simulation : Simulation
        How hospitals are simulated on one machine.
    server : Server
        What the server alone reads.
    """

    study: Study
    simulation: Simulation
    server: Server


def read_app(source: Path | StudyFile, overrides: Mapping[str, Scalar] | None = None) -> StudyApp:
    """Read a study and how it is simulated and served, as `medfl.study.read_study` reads the study alone."""
    return _app_of(read_study(source, overrides))


def app_from_run_config(run_config: Mapping[str, Scalar]) -> StudyApp:
    """Read the whole configuration of an app, as `medfl.study.study_from_run_config` reads the study alone."""
    return _app_of(study_from_run_config(run_config))


def _app_of(study: Study) -> StudyApp:
    return StudyApp(study, study.simulation, study.server)
