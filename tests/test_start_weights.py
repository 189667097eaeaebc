"""A run begins with what an earlier run ended with, keeps its scores, and is resumed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import medfl
from medfl import RunEvent
from medfl.api.start_weights import fit_start, write_start
from medfl.runs import read_history
from medfl.study import read_study


def last_scores(run: Path) -> dict[str, Any]:
    """Return what each hospital told of its test patients."""
    (test,) = [event for event in read_history(run) if event["event"] == "test"]
    return {site: entry["metrics"]["eval.loss"] for site, entry in test["sites"].items()}


@pytest.mark.slow
def test_a_run_that_begins_with_another_has_its_scores_and_goes_on_after_a_stop(
    nodule_study: Path, nodule_hospitals: Path, tmp_path: Path
) -> None:
    first = medfl.simulate(nodule_study, nodule_hospitals, tmp_path / "runs", workers=2)
    begun = shutil.copytree(nodule_study, tmp_path / "begun")
    shutil.copyfile(first.path / "best.safetensors", begun / "best.safetensors")
    write_start(begun, fit_start(begun, "best.safetensors", {}))
    assert read_study(begun).start.studies == (read_study(nodule_study).approved_hash(),)

    def stop(event: RunEvent) -> None:
        if event.kind == "round":
            raise KeyboardInterrupt

    still = medfl.open_study(begun).change({"optimizer.learning-rate": 1e-12})
    with pytest.raises(KeyboardInterrupt):
        medfl.simulate(still, nodule_hospitals, tmp_path / "runs-2", workers=2, progress=stop)
    (stopped,) = medfl.list_runs(tmp_path / "runs-2")
    went_on = medfl.resume(stopped.path, workers=2)
    assert went_on.status == "completed"
    assert last_scores(went_on.path) == pytest.approx(last_scores(first.path), abs=1e-6)
