"""The Python API: what notebooks, scripts and the command line call; most of it is at hand as ``medfl.simulate``, too.

Each name is imported when it is first used, so that `medfl runs` does not wait for what only simulations need.
"""

from typing import TYPE_CHECKING

from medfl.system.lazy_exports import export_lazily

if TYPE_CHECKING:
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

_MODULES = {
    "DataCheck": "medfl.api.data_check",
    "OpenRun": "medfl.api.runs",
    "OpenStudy": "medfl.api.studies",
    "RunEvent": "medfl.api.events",
    "RunOutcome": "medfl.api.outcome",
    "StudyCheck": "medfl.api.study_check",
    "check_data": "medfl.api.data_check",
    "list_runs": "medfl.api.runs",
    "open_run": "medfl.api.runs",
    "open_study": "medfl.api.studies",
    "plan_simulation": "medfl.api.simulations",
    "run_simulation": "medfl.api.simulations",
    "simulate": "medfl.api.simulations",
}

if not TYPE_CHECKING:  # type checkers would take any name for one of this package
    __getattr__, __dir__ = export_lazily(__name__, _MODULES)
