"""The study: a Flower app in one pyproject.toml without code, read into frozen objects."""

from medfl.study.study import Study
from medfl.study.study_file import (
    flatten,
    read_run_config,
    read_study,
    read_study_and_run_config,
    read_study_file,
    study_folder,
    study_from_run_config,
)

__all__ = [
    "Study",
    "flatten",
    "read_run_config",
    "read_study",
    "read_study_and_run_config",
    "read_study_file",
    "study_folder",
    "study_from_run_config",
]
