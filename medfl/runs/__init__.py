"""Run folders: all that a reader needs to trust a run or to resume it."""

from medfl.runs.history import Event, History, read_history
from medfl.runs.run_folder import Run
from medfl.runs.summaries import RunSummary, list_runs

__all__ = ["Event", "History", "Run", "RunSummary", "list_runs", "read_history"]
