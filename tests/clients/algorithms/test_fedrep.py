"""FedRep: first the head, then the body, each on the other as it is."""

from __future__ import annotations

import numpy as np
import pytest

from medfl.clients import session
from medfl.clients.algorithms.algorithm_registry import build_algorithm
from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.algorithms.fedrep import FedRepClient
from medfl.clients.networks import layers
from medfl.clients.networks.arrays import get_arrays, load_arrays
from medfl.clients.training.loop import train_steps, with_steps
from medfl.messages import records

FEDREP = {"name": "fedrep", "options": {"head-share": 0.25}}


def study_of(make_study, steps=8, **tables):
    return make_study(strategy=FEDREP, training={"local-steps": steps}, **tables)


def test_the_two_phases_are_those_of_the_paper(make_study, organs, make_task, site) -> None:
    study = study_of(make_study)
    task = make_task(study, organs())
    outcome = session.train(task, build_algorithm(study, site))
    assert outcome.metrics[records.TRAIN_STEPS] == 8
    assert all(parameter.requires_grad for parameter in task.net.parameters())

    by_hand = make_task(study, organs())
    net = by_hand.net
    load_arrays(net, by_hand.received)
    head = [p for layer in layers.find_layers(study, net, "head") for p in layer.parameters()]
    body = [p for p in net.parameters() if all(p is not q for q in head)]
    first = train_steps(by_hand, net, study=with_steps(study, 2), parameters=head)
    names = layers.local_names(study, net)
    moved = {n for n, x in get_arrays(net).items() if not np.array_equal(x, by_hand.received[n])}
    assert moved
    assert moved <= names
    second = train_steps(by_hand, net, study=with_steps(study, 6), parameters=body, phase=1)
    assert all(np.array_equal(outcome.arrays[n], x) for n, x in get_arrays(net).items())
    assert outcome.metrics[records.TRAIN_LOSS] == pytest.approx((2 * first + 6 * second) / 8)


@pytest.mark.parametrize(("steps", "share", "taken"), [(1, 0.5, 2), (2, 0.01, 2), (2, 0.99, 2), (5, 0.99, 5)])
def test_head_and_body_get_a_step_each_at_least(make_study, organs, make_task, steps, share, taken) -> None:
    study = study_of(make_study, steps)
    task = make_task(study, organs())
    outcome = session.train(task, FedRepClient(share))
    head = layers.local_names(study, task.net)
    assert outcome.metrics[records.TRAIN_STEPS] == taken
    moved = {n for n, x in outcome.arrays.items() if not np.array_equal(x, task.received[n])}
    assert moved & head
    assert moved - head


def test_it_learns_as_plain_training_does(make_study, organs, make_task, site) -> None:
    study = study_of(make_study, 40, optimizer={"learning-rate": 0.02})
    losses = [
        session.train(make_task(study, organs()), algorithm).metrics[records.TRAIN_LOSS]
        for algorithm in (FedRepClient(0.3), ClientAlgorithm())
    ]
    assert losses[0] == pytest.approx(losses[1], abs=0.35)
