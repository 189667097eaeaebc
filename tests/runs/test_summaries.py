"""List of runs: an AUROC that was told in bins is no more exact there than in the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfl.api.events import RunEvent
from medfl.runs import Run, list_runs
from medfl.study import StudyApp
from medfl.testing.sites import make_study


@pytest.mark.parametrize(
    ("error", "listed", "said"), [(0.02, (0.75, 0.02), "score 0.750"), (0.6, (None, 0.0), "a score that may be any")]
)
def test_a_test_score_has_its_bound_and_is_none_where_it_may_be_any(
    error: float, listed: tuple[float | None, float], said: str, tmp_path: Path
) -> None:
    run = Run.create(tmp_path, StudyApp(make_study("classification")))
    run.history.append({"event": "test", "arm": "federated", "derived": {"auroc": 0.75}, "errors": {"auroc": error}})
    (summary,) = list_runs(tmp_path)
    assert (summary.test_score, summary.test_error) == listed
    (event,) = map(RunEvent.from_history, run.history.read())
    assert said in str(event)
