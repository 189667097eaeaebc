"""The Python API: what notebooks, scripts and the command line call; most of it is at hand as ``medfl.simulate``, too.

Each name is imported when it is first used, so that `medfl runs` does not wait for what only simulations need.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from medfl.api.data_check import DataCheck, check_data
    from medfl.api.events import RunEvent
    from medfl.api.exports import export_run
    from medfl.api.outcome import RunOutcome
    from medfl.api.predictions import PredictionOptions, predict
    from medfl.api.runs import OpenRun, list_runs, load_run, open_run
    from medfl.api.simulations import plan_resumption, plan_simulation, resume, run_simulation, simulate
    from medfl.api.studies import OpenStudy, open_study
    from medfl.api.study_check import StudyCheck

__all__ = [
    "DataCheck",
    "OpenRun",
    "OpenStudy",
    "PredictionOptions",
    "RunEvent",
    "RunOutcome",
    "StudyCheck",
    "check_data",
    "export_run",
    "list_runs",
    "load_run",
    "open_run",
    "open_study",
    "plan_resumption",
    "plan_simulation",
    "predict",
    "resume",
    "run_simulation",
    "simulate",
]

_EXPORTS = {
    "data_check": ("DataCheck", "check_data"),
    "events": ("RunEvent",),
    "exports": ("export_run",),
    "outcome": ("RunOutcome",),
    "predictions": ("PredictionOptions", "predict"),
    "runs": ("OpenRun", "list_runs", "load_run", "open_run"),
    "simulations": ("plan_resumption", "plan_simulation", "resume", "run_simulation", "simulate"),
    "studies": ("OpenStudy", "open_study"),
    "study_check": ("StudyCheck",),
}
if not TYPE_CHECKING:  # or a misspelt name would pass for one that is there
    __getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_EXPORTS)
