"""Training in one place: what it sees and how many steps it takes, against the sites and against pooling by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from flwr.app import ConfigRecord

from medfl.clients import node_cache, pooled_cases, session
from medfl.clients.networks.arrays import get_arrays
from medfl.clients.networks.network_builders import build_network
from medfl.clients.training.batches import count_steps, iter_batches
from medfl.clients.training.seeds import derive_seed
from medfl.clients.training.task import TrainTask
from medfl.data.store.prepared_data import PreparedData, select_cases
from medfl.errors import ExchangeError, PolicyError
from medfl.messages import records
from medfl.study import Simulation
from tests.clients.conftest import NO_STATE


@pytest.fixture
def two_sites(site, organs, monkeypatch):
    """Let a simulation have two sites, of 6 and 3 training cases."""
    sites = {name: site.model_copy(update={"name": name}) for name in ("a", "b")}
    data = {"a": organs(6), "b": organs(3)}
    monkeypatch.setattr(node_cache, "simulated_sites", lambda simulation: tuple(sites.values()))
    monkeypatch.setattr(node_cache, "load_cases", lambda study, one: data[one.name])
    return sites, data


def task_of(study, site, data, **fields):
    net = build_network(study)
    return TrainTask(study, site, data, net, get_arrays(net), 1, 7, NO_STATE, arm="pooled", **fields)


def pool(task, names="a,b"):
    return pooled_cases.pool_cases(task, ConfigRecord({records.POOLED: names}), Simulation())


@pytest.mark.parametrize("training", [{"batch-size": 4, "local-epochs": 2}, {"batch-size": 2, "local-steps": 5}])
def test_a_round_has_the_steps_and_the_images_of_all_sites_together(make_study, two_sites, training) -> None:
    study, (sites, data) = make_study(training=training), two_sites
    cases = [each.get_split("train") for each in data.values()]
    alone = [batch for own in cases for batch in iter_batches(study, own, np.random.default_rng(1))]
    task = pool(task_of(study, sites["a"], data["a"]))
    pooled = list(iter_batches(study, task.prepared.get_split("train"), np.random.default_rng(1), task.case_counts))
    assert len(pooled) == len(alone) == count_steps(study, *task.case_counts)
    assert sum(len(batch.images) for batch in pooled) == sum(len(batch.images) for batch in alone)
    assert session.train(task).metrics[records.TRAIN_STEPS] == len(alone)


def test_no_patient_of_validation_or_test_trains(make_study, two_sites) -> None:
    sites, data = two_sites
    pooled = pool(task_of(make_study(), sites["a"], data["a"])).prepared
    assert {case.split for case in pooled.cases} == {"train"}
    assert len(pooled.cases) == sum(len(each.get_split("train")) for each in data.values())


def test_patients_that_a_start_moves_into_training_are_pooled_too(make_study, two_sites, monkeypatch) -> None:
    sites, data = two_sites
    seen = []

    def move(study, site, prepared):
        seen.append(site.name)
        return select_cases(prepared, {case.name: "train" for case in prepared.cases})

    monkeypatch.setattr(pooled_cases, "simulated_cases", move)
    pooled = pool(task_of(make_study(), sites["a"], data["a"])).prepared
    assert seen == ["a", "b"]
    assert len(pooled.cases) == sum(len(each.cases) for each in data.values())


def test_pooled_by_hand_comes_to_the_same_model(make_study, two_sites) -> None:
    study, (sites, data) = make_study(training={"local-steps": 3, "batch-size": 2}), two_sites
    by_hand = PreparedData("pooled", tuple(c for each in data.values() for c in each.cases), (), patient_ids=True)
    steps = study.model_copy(update={"training": study.training.model_copy(update={"local_steps": 6})})
    hand_task = replace(task_of(steps, sites["a"], by_hand), seed=derive_seed(study.seed, "pooled", 1))
    hand = session.train(hand_task).arrays
    pooled = [session.train(pool(task_of(study, sites[name], data[name]))).arrays for name in ("a", "b")]
    assert all(np.array_equal(hand[name], each[name]) for each in pooled for name in hand)


def test_no_hospital_is_asked_for_the_patients_of_others(make_study, site, organs) -> None:
    task = task_of(make_study(), site, organs())
    with pytest.raises(PolicyError, match="leave none"):
        pooled_cases.pool_cases(task, ConfigRecord({records.POOLED: "a,b"}), None)


@pytest.mark.parametrize("names", ["", "a,nobody"])
def test_a_message_names_sites_of_the_simulation(make_study, two_sites, names: str) -> None:
    sites, data = two_sites
    with pytest.raises(ExchangeError, match="pooled-sites"):
        pool(task_of(make_study(), sites["a"], data["a"]), names)
