"""Run folders: what a reader needs to trust a run or to resume it."""

from medfl.runs.folder import Run, RunSummary, list_runs
from medfl.runs.history import Event, History, read

__all__ = ["Event", "History", "Run", "RunSummary", "list_runs", "read"]
