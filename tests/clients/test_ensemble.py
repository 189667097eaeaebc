"""Several models that answer together: the mean of their probabilities, with one model in memory at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord

from medfl.clients import session
from medfl.clients.ensemble import score_ensemble
from medfl.clients.networks.arrays import get_arrays, load_arrays
from medfl.clients.networks.network_builders import build_network
from medfl.clients.tasks.ensemble_inference import build_mean_predictor
from medfl.clients.tasks.inference import build_predictor
from medfl.clients.training.devices import choose_device
from medfl.errors import ExchangeError, PolicyError
from medfl.messages import records
from medfl.runs import checkpoint_files
from medfl.runs.run_folder import CHECKPOINTS_FOLDER
from medfl.study import Simulation


def models_of(study, count: int = 3):
    return [get_arrays(build_network(study.model_copy(update={"seed": seed}))) for seed in range(count)]


def test_probabilities_of_each_voxel_are_averaged(make_study, site) -> None:
    study = make_study(training={"patch": "8,8"})
    net, device, models = build_network(study).eval(), choose_device(study, site), models_of(study)
    images = torch.rand(2, 1, 16, 16)  # in windows that overlap
    expected = []
    for arrays in models:
        load_arrays(net, arrays)
        expected.append(torch.softmax(build_predictor(study, net, device)(images, 0.5), 1))
    found = torch.softmax(build_mean_predictor(study, net, device, lambda: models)(images, 0.5), 1)
    assert torch.allclose(found, sum(expected) / 3, atol=1e-6)
    assert not torch.allclose(found, expected[0], atol=1e-3)


def test_a_class_that_no_model_holds_possible_has_a_finite_loss(make_study, site) -> None:
    class Sure(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.cat([images * 0 + 500, images * 0 - 500], 1)

    study, net = make_study(), Sure()
    logits = build_mean_predictor(study, net, choose_device(study, site), lambda: [{}, {}])(torch.rand(1, 1, 16, 16), 0.0)
    assert torch.isfinite(logits).all()
    assert torch.softmax(logits, 1)[0, 0].min() == 1


def test_one_model_is_in_memory_at_a_time(make_study, site) -> None:
    study = make_study()
    net, models = build_network(study).eval(), models_of(study)
    used: list[np.ndarray] = []

    def read() -> Iterator[dict[str, np.ndarray]]:
        for arrays in models:
            used.append(next(iter(get_arrays(net).values())))
            yield arrays

    build_mean_predictor(study, net, choose_device(study, site), read)(torch.rand(1, 1, 16, 16), 0.0)
    first = [next(iter(arrays.values())) for arrays in models]
    assert all(np.array_equal(seen, one) for seen, one in zip(used[1:], first, strict=False))


def test_an_ensemble_of_one_model_scores_what_the_model_scores(make_study, make_task, organs) -> None:
    study, data = make_study(), organs()
    task = make_task(study, data)
    alone = session.evaluate(study, task.site, data, task.net, task.received, "test")
    together = session.evaluate_mean(study, task.site, data, task.net, lambda: [task.received], "test")
    assert together == pytest.approx(alone, rel=1e-5)


def test_the_models_are_read_in_the_folder_of_the_run(make_study, make_task, organs, tmp_path: Path) -> None:
    study, data = make_study(), organs()
    task = dataclasses.replace(make_task(study, data), arm="ensemble")
    models = models_of(study, 2)
    for name, arrays in zip("ab", models, strict=True):
        checkpoint_files.save(tmp_path / CHECKPOINTS_FOLDER, f"local-{name}-round-0001", arrays, {})
    config = ConfigRecord({records.RUN_FOLDER: str(tmp_path), records.ENSEMBLE: "local-a-round-0001,local-b-round-0001"})
    found = score_ensemble(task, config, Simulation(), "test", None)
    assert found == session.evaluate_mean(study, task.site, data, task.net, lambda: models, "test")
    with pytest.raises(ExchangeError, match="names no models of the run"):
        score_ensemble(task, ConfigRecord({**config, records.ENSEMBLE: "../best"}), Simulation(), "test", None)
    with pytest.raises(PolicyError, match="ARM-FOREIGN"):
        score_ensemble(task, config, None, "test", None)
