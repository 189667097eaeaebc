"""No count of a few patients leaves a site whose policy forbids it, in any message of a whole run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medfl.data.synthetic.hospitals import make_nodule_images
from medfl.runs.history import read_history
from medfl.simulation.simulated_run import plan_simulation

K = 5
COUNTS = ("patients", "samples", "cases", "count", "correct", "confusion", "positives", "negatives", "present")


def counts_in(content: Any, name: str = "") -> Iterator[tuple[str, int]]:
    """Yield every whole number below a part of the history, with its key."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from counts_in(value, f"{name}/{key}")
    elif isinstance(content, list):
        for value in content:
            yield from counts_in(value, name)
    elif isinstance(content, int) and not isinstance(content, bool):
        yield name, content


@pytest.mark.slow
@pytest.mark.parametrize("split", [0.2, 0.1])
def test_a_run_under_a_policy_reports_no_small_count(split: float, nodule_study: Path, tmp_path: Path) -> None:
    hospitals = make_nodule_images(tmp_path / "hospitals", hospitals=2, patients=40, seed=1)
    for site in sorted(hospitals.glob("*/site.toml")):
        site.write_text(site.read_text().replace("min-count = 0", f"min-count = {K}"))
    for image in sorted(next(hospitals.iterdir()).rglob("*.png"))[:2]:
        image.write_bytes(image.read_bytes()[:60])
    simulation = plan_simulation(nodule_study, [hospitals], tmp_path / "runs", {"splits.test": split})
    simulation.start(workers=1)
    events = read_history(simulation.run)
    assert events[-1]["status"] == "completed"
    joined = [event for event in events if event["event"] == "joined"]
    assert {code: n for event in joined for code, n in event["excluded"].items()}.popitem()[1] == -K
    shared = [event for event in events if event["event"] in ("joined", "round", "scored", "test")]
    numbers = [(key, n) for event in shared for key, n in counts_in(event) if any(word in key for word in COUNTS)]
    assert len(numbers) > 1000
    assert {(key, n) for key, n in numbers if 0 < n < K and "hidden" not in key} == set()
    (test,) = [event for event in events if event["event"] == "test"]
    hidden = {site: answer["metrics"]["eval.hidden"] for site, answer in test["sites"].items()}
    assert set(hidden.values()) == ({0} if split == 0.2 else {1})
    assert (simulation.run / "report.html").exists() is False  # written by the command, not by the run
