"""A run that trains a part of its network, from the study to the model that others use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.clients import node_cache, session
from medfl.clients.networks.network_builders import build_network
from medfl.clients.networks.update_size import count_update_bytes
from medfl.data.simulated_sites import read_simulated_sites
from medfl.models.trained_model import open_model
from medfl.runs import checkpoint_files
from medfl.runs.history import read_history
from medfl.runs.run_folder import Run
from medfl.server.training import ArmTrainer
from medfl.simulation.resumed_run import plan_resumption
from medfl.simulation.simulated_run import plan_simulation

CHANGES = {
    "arms": "federated,local,pooled",
    "training.tune": "lora,head",
    "training.lora-rank": 2,
    "optimizer.learning-rate": 0.01,
}


@pytest.mark.slow
def test_a_run_sends_a_part_and_ends_with_a_plain_model(
    nodule_study: Path, nodule_hospitals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulation = plan_simulation(nodule_study, [nodule_hospitals], tmp_path / "runs", CHANGES)
    simulation.start(workers=1)
    run = Run.open(simulation.run)
    events = read_history(run.path)
    assert [event["status"] for event in events if event["event"] == "end"] == ["completed"]
    shared = open_model(run.path)
    assert list(shared.arrays) == list(build_network(run.study).state_dict())
    first = build_network(run.study).state_dict()
    kinds = {name.rpartition(".")[2] for name, x in shared.arrays.items() if not np.array_equal(x, first[name].numpy())}
    assert kinds == {"weight", "bias"}  # of the head; the bias of no other layer
    for event in events:
        if event["event"] == "round":
            assert event["bytes-down"] < len(event["sites"]) * (count_update_bytes(run.study)[event["arm"]] + 1000)
            assert event["bytes-down"] < len(event["sites"]) * sum(tensor.nbytes for tensor in shared.arrays.values())
        elif event["event"] == "test":
            _check_test(run, event)
    _check_resumed(run, nodule_study, nodule_hospitals, tmp_path / "stopped", monkeypatch)


def _check_test(run: Run, event: dict[str, Any]) -> None:
    """Score the model file as a plain network on the same patients: the same numbers come out."""
    owner = event["model"].get("site")
    model = open_model(run.path, arm=event["arm"], site=owner)
    plain = run.study.model_copy(update={"training": run.study.training.model_copy(update={"tune": ("all",)})})
    for site in read_simulated_sites(run.app.simulation):
        prepared = node_cache.load_cases(run.study, site)
        scores = session.evaluate(plain, site, prepared, model.build(), model.arrays, "test")
        told = event["sites"][site.name]["metrics"]
        assert told["eval.patients"]
        assert {k: v for k, v in told.items() if "seconds" not in k} == {k: scores[k] for k in told if "seconds" not in k}


def _check_resumed(run: Run, study: Path, hospitals: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """End the same run after each first round of an arm, and go on with it: all bits are those of the run that went through."""
    complete = ArmTrainer._complete_round

    def stop_after(self: ArmTrainer, server_round: int, *values: Any) -> None:
        complete(self, server_round, *values)
        if server_round == 1:
            raise KeyboardInterrupt

    stopped = plan_simulation(study, [hospitals], out, CHANGES)
    with monkeypatch.context() as patch:
        patch.setattr(ArmTrainer, "_complete_round", stop_after)
        with pytest.raises(KeyboardInterrupt):
            stopped.start(workers=1)
    plan_resumption(stopped.run).start(workers=1)
    for name in ("best", "final"):
        one, other = (checkpoint_files.load(path, name).arrays for path in (run.path, stopped.run))
        assert all(np.array_equal(one[key], other[key]) for key in {**one, **other})
