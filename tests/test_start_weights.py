"""A run begins with what an earlier run ended with, keeps its scores, and is resumed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import medfl
from medfl import RunEvent
from medfl.api.start_weights import fit_start, write_start
from medfl.clients.networks.layers import local_names
from medfl.clients.networks.network_builders import build_network
from medfl.models.trained_model import open_model
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


@pytest.mark.slow
def test_a_part_of_a_start_is_trained_with_a_new_head_and_the_rest_stays_as_the_file_has_it(
    nodule_study: Path, nodule_hospitals: Path, tmp_path: Path
) -> None:
    study = read_study(nodule_study)
    task = study.task.model_copy(update={"classes": ("clear", "nodule", "other")})
    torch.save(build_network(study.model_copy(update={"task": task, "seed": 77})).state_dict(), nodule_study / "w.pt")
    text = (nodule_study / "pyproject.toml").read_text().replace("batch-size = 8", 'tune = "lora,head"\nlora-rank = 2')
    (nodule_study / "pyproject.toml").write_text(text.replace('arms = "federated"', 'arms = "federated,local,pooled"'))
    write_start(nodule_study, fit_start(nodule_study, "w.pt", {"head": "new"}))

    def stop(event: RunEvent) -> None:
        if event.kind == "round":
            raise KeyboardInterrupt

    whole = medfl.simulate(nodule_study, nodule_hospitals, tmp_path / "runs", workers=1)
    with pytest.raises(KeyboardInterrupt):
        medfl.simulate(nodule_study, nodule_hospitals, tmp_path / "stopped", workers=1, progress=stop)
    (stopped,) = medfl.list_runs(tmp_path / "stopped")
    assert medfl.resume(stopped.path, workers=1).status == "completed"
    one, other = (open_model(path).arrays for path in (whole.path, stopped.path))
    assert all(np.array_equal(tensor, other[name]) for name, tensor in one.items())
    weights = torch.load(nodule_study / "w.pt")
    changed = {name for name, tensor in one.items() if not np.array_equal(tensor, weights[name].numpy())}
    head = local_names(study, build_network(study), ("head",))
    assert changed == head | {name for name in one if name.endswith("conv.weight")}
    assert len(list((tmp_path / "store").glob("*/starts/*/*"))) == 3
    told = [event.get("bytes-down", 0) for event in read_history(whole.path) if event["event"] == "joined"]
    assert min(told) > sum(tensor.numel() * 4 for tensor in weights.values()) / 2
    assert "low-rank updates of its linear and convolution layers, of rank 2" in " ".join(whole.outcome().verdict)
