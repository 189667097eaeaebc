"""The study: a Flower app in one pyproject.toml without code, read into frozen objects."""

from medfl.study.run_settings import Server, Simulation
from medfl.study.study import Study
from medfl.study.study_app import (
    StudyApp,
    app_from_run_config,
    read_app,
    read_app_and_run_config,
    read_recorded_study,
    read_study,
    study_from_run_config,
)
from medfl.study.study_file import flatten, read_run_config, read_study_file, study_folder

__all__ = [
    "Server",
    "Simulation",
    "Study",
    "StudyApp",
    "app_from_run_config",
    "flatten",
    "read_app",
    "read_app_and_run_config",
    "read_recorded_study",
    "read_run_config",
    "read_study",
    "read_study_file",
    "study_folder",
    "study_from_run_config",
]
