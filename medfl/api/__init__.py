"""The Python API: what notebooks, scripts and the command line call; most of it is at hand as ``medfl.simulate``, too."""

from medfl.api.data_check import DataCheck, check_data
from medfl.api.events import RunEvent
from medfl.api.outcome import RunOutcome
from medfl.api.runs import OpenRun, list_runs, open_run
from medfl.api.simulations import plan_simulation, run_simulation, simulate
from medfl.api.studies import OpenStudy, open_study
from medfl.api.study_check import StudyCheck

__all__ = [
    "DataCheck",
    "OpenRun",
    "OpenStudy",
    "RunEvent",
    "RunOutcome",
    "StudyCheck",
    "check_data",
    "list_runs",
    "open_run",
    "open_study",
    "plan_simulation",
    "run_simulation",
    "simulate",
]
