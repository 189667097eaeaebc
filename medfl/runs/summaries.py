"""Summaries of runs for a list: the status and the best score of each."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medfl.errors import RunError
from medfl.runs.history import Event, read_history
from medfl.runs.run_folder import STUDY_JSON, current_status, read_metadata

ANY_SCORE = 0.5  # error of an AUROC from its bins with which it tells nothing


@dataclass(frozen=True)
class RunSummary:
    """One line in a list of runs.

    Parameters
    ----------
    path : Path
        Folder of the run.
    study : str
        Name of the study.
    started : str
        ISO time, UTC.
    status : str
        "running", "completed", "failed", "stopped", "interrupted" (its process was killed) or "damaged".
    rounds : int
        Finished rounds of the federated arm, or of the local arm if that is the only one.
    score : float or None
        Best validation score of the federated model; None before the first, or where the hospitals tell none.
    sites : int
        Sites that joined; external hospitals do not count.
    test_score : float or None
        Score of the federated model on all test patients; None before, or where the hospitals tell none.
    test_error : float
        How far it may be from that of the single scores, as hospitals tell an AUROC in bins.
    """

    path: Path
    study: str
    started: str
    status: str
    rounds: int
    score: float | None
    sites: int
    test_score: float | None = None
    test_error: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the summary as a dictionary for JSON."""
        return {**asdict(self), "path": str(self.path)}


def list_runs(out: Path) -> list[RunSummary]:
    """Return a summary of every run below a folder, oldest first.

    Parameters
    ----------
    out : Path
        Folder of all runs, as in `Run.create`.
    """
    summaries = [_summarize(file.parent) for file in out.glob(f"*/*/{STUDY_JSON}")]
    return sorted(summaries, key=lambda summary: (summary.path.name, summary.study))


def _summarize(path: Path) -> RunSummary:
    try:
        about, events = read_metadata(path), read_history(path)
    except RunError:
        return RunSummary(path, path.parent.name, "", "damaged", 0, None, 0)
    rounds = [e for e in events if e["event"] == "round"]
    arm = "federated" if any(e.get("arm", "federated") == "federated" for e in rounds) else "local"
    scored = [e for e in events if e["event"] in ("round", "scored") and e.get("arm", "federated") == "federated"]
    scores = [float(e["score"]) for e in scored if e.get("score") is not None]
    test_score, test_error = _read_test(
        [e for e in events if e["event"] == "test" and e.get("arm", "federated") == "federated"]
    )
    return RunSummary(
        path=path,
        study=path.parent.name,
        started=str(about.get("started", "")),
        status=current_status(path, events),
        rounds=max((int(e["round"]) for e in rounds if e.get("arm", "federated") == arm), default=0),
        score=max(scores, default=None),
        sites=len({e["site"] for e in events if e["event"] == "joined" and not e.get("external")}),
        test_score=test_score,
        test_error=test_error,
    )


def _read_test(tests: list[Event]) -> tuple[float | None, float]:
    """Return the score of the last test and its error; None where it may be any."""
    if not tests:
        return None, 0.0
    derived, errors = tests[-1].get("derived") or {}, tests[-1].get("errors") or {}
    score, error = derived.get("dice", derived.get("auroc")), float(errors.get("auroc") or 0.0)
    return (None, 0.0) if score is None or error >= ANY_SCORE else (float(score), error)
