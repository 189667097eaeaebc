"""Results on single patients, as the sites of a simulated run left them."""

from __future__ import annotations

import json
from pathlib import Path

from medfl.evaluation.patient_results import read_results_elsewhere


def test_patients_are_scored_by_each_model_of_the_other_hospitals(tmp_path: Path) -> None:
    for site in "abc":
        for owner in "abc":
            folder = tmp_path / "sites" / site / "local" / owner
            folder.mkdir(parents=True)
            (folder / "test.json").write_text(json.dumps({"patients": {f"pat-{site}": f"{owner} on {site}"}}))
    found = list(read_results_elsewhere(tmp_path))
    assert len(found) == 2
    assert all(set(results) == {(site, f"pat-{site}") for site in "abc"} for results, _ in found)
    scored = {(site, value) for results, _ in found for (site, _), value in results.items()}
    assert scored == {(site, f"{owner} on {site}") for site in "abc" for owner in "abc" if owner != site}
    assert all(results[site, f"pat-{site}"] == f"{owners[site]} on {site}" for results, owners in found for site in "abc")


def test_a_hospital_alone_has_no_others(tmp_path: Path) -> None:
    (tmp_path / "sites" / "a" / "local" / "a").mkdir(parents=True)
    assert list(read_results_elsewhere(tmp_path)) == []
