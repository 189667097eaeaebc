"""Conditional distillation: only where something is unknown, only on what is unknown."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medfl.clients import session
from medfl.clients.algorithms.algorithm_registry import build_algorithm
from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.algorithms.condist import ConDistClient, DistillationHooks, conditional_dice, ramp_weight
from medfl.clients.training.task import StepHooks
from medfl.data.store.prepared_data import PreparedData
from tests.clients.training.test_partial_labels import TWO, two_organs

STRATEGY = {"name": "condist"}


def site_with(*annotated: tuple[int, ...]) -> PreparedData:
    cases = tuple(two_organs(k, annotated=looked) for k, looked in enumerate(annotated))
    return PreparedData("here", cases, (), True)


def test_soft_dice_of_what_is_left_given_that_it_is_not_annotated() -> None:
    # two voxels; class 1 is annotated. Of the rest (0, 2) the models say (1/2, 1/2), (1/4, 3/4) and (1/2, 1/2), (1, 0)
    ours = torch.log(torch.tensor([[0.2, 0.6, 0.2], [0.1, 0.6, 0.3]])).T[None]
    theirs = torch.log(torch.tensor([[0.4, 0.2, 0.4], [0.8, 0.2, 1e-30]])).T[None]
    labels = torch.zeros(1, 2, dtype=torch.uint8)
    background = 2 * (0.25 + 0.25) / (0.5 + 0.25 + 0.5 + 1)
    unknown = 2 * 0.25 / (0.5 + 0.75 + 0.5)
    expected = 1 - (background + unknown) / 2
    assert float(conditional_dice(ours, theirs, labels, (1,), 1.0)) == pytest.approx(expected, abs=1e-4)


def test_voxels_that_mask_or_received_model_give_to_an_annotated_structure_do_not_count() -> None:
    torch.manual_seed(0)
    ours, theirs = torch.randn(2, 1, 3, 4)
    theirs[:, 1] = -9.0
    theirs[:, 1, 3] = 9.0  # the received model sees the annotated structure there
    labels = torch.tensor([[1, 0, 0, 0]])
    inside = conditional_dice(ours[..., 1:3], theirs[..., 1:3], labels[:, 1:3], (1,), 0.5)
    assert float(conditional_dice(ours, theirs, labels, (1,), 0.5)) == pytest.approx(float(inside))


def test_nothing_counts_where_all_is_annotated_structure() -> None:
    ours = torch.zeros(1, 3, 4, requires_grad=True)
    value = conditional_dice(ours, torch.zeros(1, 3, 4), torch.ones(1, 4), (1,), 0.5)
    value.backward()
    assert float(value.detach()) == pytest.approx(0.0)
    assert not ours.grad.any()


def test_its_weight_grows_over_the_rounds() -> None:
    assert [round(ramp_weight(n, 3), 3) for n in (1, 2, 3)] == [0.01, 0.505, 1.0]
    assert ramp_weight(1, 1) == 0.01


def test_a_site_that_annotates_everything_trains_as_in_fedavg(make_study, make_task) -> None:
    study, data = make_study(task=TWO, strategy=STRATEGY), site_with((), ())
    plain, distilled = (
        session.train(make_task(study, data), ClientAlgorithm()),
        session.train(make_task(study, data), ConDistClient()),
    )
    assert all(np.array_equal(plain.arrays[name], distilled.arrays[name]) for name in plain.arrays)


def test_the_mean_over_the_images_of_a_batch(make_study, make_task) -> None:
    study, data = make_study(task=TWO), site_with((1,), ())
    task = make_task(study, data, 4)
    settled = []

    class Watch(DistillationHooks):
        def compute_loss(self, net, images, labels, logits, loss):  # type: ignore[no-untyped-def]
            total = super().compute_loss(net, images, labels, logits, loss)
            partly = [k for k, looked in enumerate(self.annotated) if looked]
            with torch.no_grad():
                taught = self._received(images[partly])
            term = conditional_dice(logits[partly], taught, labels[partly], (1,), 0.5)
            settled.append((float(total.detach()), float((loss + 2.0 * term / 2).detach())))
            return total

    class Watched(ClientAlgorithm):
        def step_hooks(self, task):  # type: ignore[no-untyped-def]
            return Watch(task, 2.0, 0.5)

    session.train(task, Watched())
    assert settled
    for total, expected in settled:
        assert total == pytest.approx(expected, rel=1e-5)


def test_the_client_algorithm_adds_the_term_where_something_is_unknown(make_study, make_task, site) -> None:
    study = make_study(task=TWO, strategy={**STRATEGY, "options": {"weight": 3.0, "temperature": 0.7}})
    algorithm = build_algorithm(study, site)
    task = make_task(study, site_with((1,), (2,)))
    plain, distilled = session.train(task, ClientAlgorithm()), session.train(task, algorithm)
    assert any(not np.array_equal(plain.arrays[name], distilled.arrays[name]) for name in plain.arrays)
    assert all(np.isfinite(array).all() for array in distilled.arrays.values())
    assert type(ConDistClient(weight=0.0).step_hooks(task)) is StepHooks
