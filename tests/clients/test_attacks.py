"""Attacks of simulated sites: what each does to an update, and that a real site never attacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict

from medfl import metrics
from medfl.clients import attacks, node, session
from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.initial_model import build_initial_model
from medfl.clients.networks.arrays import get_arrays
from medfl.clients.networks.network_builders import build_network
from medfl.clients.training.task import TrainResult, TrainTask
from medfl.errors import ConfigError
from medfl.flower import compat
from medfl.messages import records
from medfl.study import Simulation, read_run_config, study_from_run_config
from tests.clients.conftest import NO_STATE

SITES = ["cadiz", "aachen", "bergen"]


class Adds(ClientAlgorithm):
    """An honest algorithm that adds 2 to every weight and counts a step."""

    def train(self, task: TrainTask) -> TrainResult:
        arrays = {n: (x + 2).astype(x.dtype) if x.dtype.kind == "f" else x + 1 for n, x in task.received.items()}
        return TrainResult(arrays, {records.TRAIN_LOSS: 0.5}, {"control": {"c": np.ones(1)}})


def spoilt(attack: str, strength: float = 3.0, seed: int = 1) -> TrainResult:
    received = {
        "weight": np.full(20000, 10, np.float32),
        "half": np.array(10, np.float16),
        "steps": np.array(7),
        "none": np.empty((0, 2), np.float32),
    }
    task = TrainTask(None, None, None, None, received, 1, seed, NO_STATE)  # type: ignore[arg-type]
    simulation = Simulation(attack=attack, attack_strength=strength)  # type: ignore[arg-type]
    return attacks.as_attacker(Adds(), simulation, "aachen", SITES).train(task)


@pytest.mark.parametrize(("attack", "expected"), [("sign-flip", 10 - 3 * 2), ("scale", 10 + 3 * 2)])
def test_an_update_goes_the_wrong_way_or_too_far(attack: str, expected: float) -> None:
    update = spoilt(attack)
    assert (update.arrays["weight"] == expected).all()
    assert update.arrays["half"] == expected
    assert {n: (x.dtype, x.shape) for n, x in update.arrays.items()} == {
        "weight": (np.float32, (20000,)),
        "half": (np.float16, ()),
        "steps": (np.int64, ()),
        "none": (np.float32, (0, 2)),
    }
    assert update.arrays["steps"] == 8
    assert update.metrics == {records.TRAIN_LOSS: 0.5}
    assert update.records["control"]["c"] == 1


def test_noise_is_as_large_as_asked_around_the_received_model_and_repeats_by_seed() -> None:
    noise = spoilt("gaussian").arrays["weight"]
    assert noise.mean() == pytest.approx(10, abs=0.2)
    assert noise.std() == pytest.approx(3 * 2, rel=0.03)
    assert np.array_equal(noise, spoilt("gaussian").arrays["weight"])
    assert not np.array_equal(noise, spoilt("gaussian", seed=2).arrays["weight"])


def test_mirrored_labels_are_trained_on_and_nothing_else_changes(organs) -> None:
    data = organs()
    other = attacks.flip_labels(data, 2)
    for case, mirrored in zip(data.cases, other.cases, strict=True):
        assert mirrored.image is case.image
        if case.split == "train":
            assert np.array_equal(mirrored.label, 1 - case.label)
            assert mirrored.label.dtype == np.uint8
        else:
            assert mirrored is case


def test_mirrored_classes_of_images(findings) -> None:
    other = attacks.flip_labels(findings, 2)
    assert [c.label for c in other.get_split("train")] == [1 - c.label for c in findings.get_split("train")]
    assert other.get_split("test") == findings.get_split("test")


def test_an_attacker_with_mirrored_labels_learns_the_background(make_study, site, organs) -> None:
    study = make_study(optimizer={"learning-rate": 0.02}, training={"local-steps": 60})
    simulation = Simulation(attack="label-flip", attackers=("hospital-a",))
    net, data = build_network(study), organs()
    attacker = attacks.as_attacker(ClientAlgorithm(), simulation, "hospital-a", ["hospital-a"])
    outcome = session.train(TrainTask(study, site, data, net, get_arrays(net), 1, 5, NO_STATE), attacker)
    assert metrics.headline(study, session.evaluate(study, site, data, net, outcome.arrays, "validation")) < 0.2
    assert outcome.metrics[records.TRAIN_PATIENTS] == 6


def test_who_attacks() -> None:
    def who(**chosen: object) -> set[str]:
        return set(attacks.choose_attackers(Simulation.model_validate({"attack": "scale", **chosen}), SITES))

    assert who() == {"aachen"}
    assert who(attackers=2) == {"aachen", "bergen"}
    assert who(attackers="cadiz,aachen") == {"cadiz", "aachen"}
    assert who(attackers=0) == who(attack="none") == set()
    honest = Adds()
    assert attacks.as_attacker(honest, Simulation(attack="scale"), "cadiz", SITES) is honest
    for wrong in (4, "rome", "aachen,rome"):
        with pytest.raises(ConfigError, match=r"simulation\.attackers: came .* allowed: a number up to 3, or names of aachen"):
            who(attackers=wrong)


def test_only_a_simulated_hospital_attacks_and_only_in_the_federated_arm(nodule_study: Path, nodule_hospitals: Path) -> None:
    plan = {"simulation.data": str(nodule_hospitals), "simulation.attack": "scale", "simulation.attack-strength": 7.0}
    plan |= {"arms": "federated,local"}
    run_config = read_run_config(nodule_study) | plan
    model = build_initial_model(study_from_run_config(run_config))
    compat.identify_process(1, compat.SERVER_NODE_ID)

    def sent(arm: str, **where: object) -> np.ndarray:
        config = ConfigRecord({records.ROUND: 1, records.ARM: arm, records.RUN: "r"})
        content = RecordDict({records.ARRAYS: model, records.CONFIG: config})
        message = Message(content, dst_node_id=2, message_type=MessageType.TRAIN)
        reply = node.train(message, Context(1, 2, where, RecordDict(), run_config))  # type: ignore[arg-type]
        new = records.from_array_record(reply.content.array_records[records.ARRAYS])
        return np.concatenate([np.ravel(new[n] - old.numpy()) for n, old in model.items()])

    first, second = ({"partition-id": k, "num-partitions": 3} for k in range(2))
    honest = sent("local", **first)
    assert np.allclose(sent("federated", **first), 7 * honest, rtol=1e-3, atol=1e-6)
    assert np.array_equal(sent("federated", **second), sent("local", **second))
    real = {"site": str(min(nodule_hospitals.glob("*/site.toml")))}
    assert np.array_equal(sent("federated", **real), sent("local", **real))
