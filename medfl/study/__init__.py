"""A study: one Flower app in one pyproject.toml that holds no code, read once into frozen objects."""

from medfl.study.reading import flatten, read_study, run_config_of, study_folder, study_from_run_config
from medfl.study.study import Study

__all__ = ["Study", "flatten", "read_study", "run_config_of", "study_folder", "study_from_run_config"]
