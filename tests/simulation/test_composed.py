"""Algorithms, codecs, filters and measures together, as a study names them, from the hospitals to the report."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from medfl.data.synthetic.hospitals import make_nodule_images
from medfl.errors import ConfigError
from medfl.report import write_report
from medfl.runs.history import read_history
from medfl.simulation.simulated_run import plan_simulation
from tests.server.direct_grid import conduct


def events_of(
    study: Path, data: Path, out: Path, *, in_process: bool = False, **overrides: Any
) -> tuple[Path, dict[str, list[dict[str, Any]]]]:
    changes = {key.replace("__", ".").replace("_", "-"): value for key, value in overrides.items()}
    simulation = plan_simulation(study, [data], out, {**changes, "simulation.store": str(out / "store")})
    if in_process:
        conduct(dict(simulation.run_config))
    else:
        simulation.start(workers=2)
    kinds: dict[str, list[dict[str, Any]]] = {}
    for event in read_history(simulation.run):
        kinds.setdefault(event["event"], []).append(event)
    return simulation.run, kinds


def test_compressed_and_clipped_updates_are_counted_and_their_contributions_measured(
    nodule_study: Path, nodule_hospitals: Path, tmp_path: Path
) -> None:
    run, kinds = events_of(
        nodule_study,
        nodule_hospitals,
        tmp_path / "runs",
        compression__codec="top-k",
        compression__keep=0.1,
        filtering__clip_norm=5.0,
        contribution__method="shapley",
        arms="federated,local",
    )
    assert kinds["end"][0]["status"] == "completed"
    together, alone = ([e for e in kinds["round"] if e["arm"] == arm] for arm in ("federated", "local"))
    assert [site["status"] for event in kinds["round"] for site in event["sites"].values()] == ["ok"] * 12
    for compressed, full in zip(together, alone, strict=True):
        assert 0.6 < (full["bytes-up"] - compressed["bytes-up"]) / compressed["bytes-down"] < 0.9  # about 0.8
    assert [event["round"] for event in kinds["contribution"]] == [1, 2]
    for event in kinds["contribution"]:
        assert event["models"] == 8
        assert event["arm"] == "federated"
        assert math.fsum(site["value"] for site in event["sites"].values()) == pytest.approx(event["gain"])
    assert "What each hospital contributed" in write_report(run).read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    "composed",
    [
        {"compression__codec": "int8", "filtering__reject_factor": 5.0, "contribution__method": "alignment"},
        {"compression__codec": "bf16", "strategy__name": "fedbn", "contribution__method": "leave-one-out"},
        {"compression__codec": "int8", "strategy__name": "ditto", "contribution__method": "leave-one-out"},
        {
            "compression__codec": "int8",
            "strategy__name": "scaffold",
            "optimizer__name": "sgd",
            "optimizer__learning_rate": 0.01,
        },
        {"compression__codec": "top-k", "strategy__name": "fedper", "personal__fine_tune_steps": 2},
        {"compression__codec": "int8", "strategy__name": "cyclic", "filtering__clip_norm": 1.0},
        {"compression__codec": "top-k", "strategy__name": "fedbuff", "strategy__options__buffer": 3},
        {"compression__codec": "bf16", "strategy__name": "rfa", "filtering__clip_norm": 1.0, "personal__layers": "head"},
    ],
    ids=lambda composed: "+".join(str(value) for value in composed.values()),
)
def test_combinations_that_the_study_allows_run_to_the_end(
    composed: Any, nodule_study: Path, nodule_hospitals: Path, tmp_path: Path
) -> None:
    _, kinds = events_of(nodule_study, nodule_hospitals, tmp_path / "runs", in_process=True, **composed)
    assert kinds["end"][0]["status"] == "completed"
    assert "failed" not in kinds
    assert {site["status"] for event in kinds["round"] for site in event["sites"].values()} == {"ok"}
    assert bool(kinds.get("contribution")) is ("contribution__method" in composed)


def test_shapley_values_of_many_hospitals_are_refused_before_anything_starts(nodule_study: Path, tmp_path: Path) -> None:
    data = make_nodule_images(tmp_path / "hospitals", hospitals=7, patients=3)
    with pytest.raises(ConfigError, match="it is for 6 sites at most"):
        plan_simulation(nodule_study, [data], tmp_path / "runs", {"contribution.method": "shapley"})
    assert not (tmp_path / "runs").exists()
