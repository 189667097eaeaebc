"""Layers that stay at a site: the right ones for every network, and none of them leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict
from safetensors.numpy import load_file

from medfl.clients import node, node_cache, session
from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.initial_model import build_initial_model, build_initial_models
from medfl.clients.networks import layers
from medfl.clients.networks.arrays import get_arrays
from medfl.clients.networks.network_builders import build_network, network_names
from medfl.clients.start import initial_layers
from medfl.clients.training import local_layers
from medfl.clients.training.task import TrainResult
from medfl.errors import ExchangeError
from medfl.flower import compat
from medfl.messages import records
from medfl.study import read_run_config, study_from_run_config
from medfl.study.network_options import NETWORKS_BY_KIND

SMALL = {
    "unet": {"channels": "4,8"},
    "basic-unet": {"features": "4,4,4,8,8,4"},
    "dynunet": {"filters": "4,8,8"},
    "segresnet": {"filters": 8},
    "swin-unetr": {"features": 12},
    "unetr": {"hidden": 24, "heads": 2, "features": 4},
    "resnet": {"depth": 10, "width": 0.25, "dropout": 0.1},
    "vit": {"hidden": 24, "heads": 2, "layers": 1},
    "cnn": {"channels": "4"},
}
every_network = pytest.mark.parametrize("name", network_names())


@pytest.fixture
def study_of(make_study):
    def make(name, layers="norm,head", **network):
        kind = "segmentation" if name in NETWORKS_BY_KIND["segmentation"] else "classification"
        size = {"size": "64,64"}
        network = {"name": name, **SMALL.get(name, {}), **network}
        return make_study(kind, network=network, personal={"layers": layers}, preprocessing=size)

    return make


@every_network
def test_the_head_is_what_the_logits_come_from(study_of, name) -> None:
    study = study_of(name)
    net = build_network(study).eval()
    images = torch.randn(1, 1, 64, 64)
    body = {n for n, _ in net.named_parameters()} - layers.local_names(study, net, ["head"])
    assert 0 < sum(p.numel() for n, p in net.named_parameters() if n not in body) < sum(p.numel() for p in net.parameters()) / 3
    with torch.no_grad():
        before = net(images)
        for layer in layers.find_layers(study, net, "head"):
            for parameter in layer.parameters():
                parameter.zero_()
        assert before.any()
        assert not net(images).any()


@every_network
@pytest.mark.parametrize("norm", ["instance", "group", "batch"])
def test_every_normalisation_layer_is_found_with_its_running_statistics(study_of, name, norm) -> None:
    study = study_of(name, "norm", norm=norm)
    net = build_network(study)
    expected = {
        f"{path}.{tensor}"
        for path, layer in net.named_modules()
        if "Norm" in type(layer).__name__ and not list(layer.children())
        for tensor in layer.state_dict()
    }
    local = layers.local_names(study, net)
    assert local == expected & set(get_arrays(net))
    assert local
    assert norm != "batch" or name == "vit" or any(n.endswith("running_var") for n in local)
    shared = layers.shared_names(study, net)
    assert sorted([*shared, *local]) == sorted(get_arrays(net))
    assert list(shared) == [n for n in get_arrays(net) if n not in local]


def test_without_local_layers_everything_is_shared(study_of) -> None:
    study = study_of("unet", "")
    assert layers.shared_names(study, net := build_network(study)) == tuple(get_arrays(net))


class Grows(ClientAlgorithm):
    """Adds 1 to every tensor, and sends one of its own for each."""

    def train(self, task):
        grown = {name: tensor + tensor.dtype.type(1) for name, tensor in task.received.items()}
        return TrainResult(grown, {records.TRAIN_LOSS: 1.0}, {"beside": grown})


def test_a_site_goes_on_with_its_own_layers_and_sends_the_others(study_of, organs, make_task) -> None:
    study = study_of("unet", norm="batch")
    sent = layers.shared_arrays(study, build_network(study))
    first = initial_layers.initial_kept_layers(study)
    assert first
    assert not sent.keys() & first.keys()
    for number in (1, 2, 3):
        task = local_layers.with_local_layers(make_task(study, organs(), number, sent))
        assert list(task.received) == list(get_arrays(task.net))
        assert all(np.allclose(task.received[n], x + number - 1, atol=1e-6) for n, x in first.items())
        assert all(np.array_equal(task.received[n], x) for n, x in sent.items())
        outcome = local_layers.without_local_layers(task, session.train(task, Grows()))
        assert list(outcome.arrays) == list(outcome.records["beside"]) == list(sent)
    newcomer = local_layers.with_initial_layers(make_task(study, organs(), 4, sent)).received
    assert all(np.array_equal(newcomer[n], x) for n, x in {**first, **sent}.items())


def test_a_hospital_that_trains_alone_sends_all(study_of, organs, make_task) -> None:
    study = study_of("unet")
    task = make_task(study, organs(), arm="local")
    assert local_layers.with_local_layers(task) is local_layers.with_initial_layers(task) is task
    outcome = session.train(task)
    assert local_layers.without_local_layers(task, outcome) is outcome
    alone = study.model_copy(update={"arms": ("federated", "local")})
    models = build_initial_models(alone)
    assert list(models["whole"]) == list(task.received)
    assert list(models["initial"]) == list(layers.shared_names(study, task.net))
    assert list(build_initial_models(study)) == ["initial"]


def test_batch_norm_learns_and_its_statistics_are_used_in_evaluation(study_of, organs, make_task, site) -> None:
    study = study_of("unet", "norm", norm="batch")
    task = local_layers.with_local_layers(make_task(study, organs()))
    trained = session.train(task).arrays
    means = [n for n in trained if n.endswith("running_mean")]
    assert any(not np.array_equal(trained[n], task.received[n]) for n in means)
    still = {**trained, **{n: task.received[n] for n in means}}
    one, two = (session.evaluate(study, site, organs(), task.net, model, "validation") for model in (trained, still))
    assert one[records.EVAL_LOSS] != two[records.EVAL_LOSS]


@pytest.fixture
def node_of(nodule_study: Path, nodule_hospitals: Path):
    """Return what makes a message to a simulated hospital, and the study."""
    compat.identify_process(1, compat.SERVER_NODE_ID)
    plan = {"simulation.data": str(nodule_hospitals), "strategy.name": "fedbn", "network.norm": "batch"}
    run_config = read_run_config(nodule_study) | plan

    def answer(do, model, number, **config):
        values = ConfigRecord({records.ROUND: number, records.RUN: "run-1", **config})
        message = Message(RecordDict({records.ARRAYS: model, records.CONFIG: values}), 2, message_type=MessageType.TRAIN)
        return do(message, Context(1, 2, {"partition-id": 0, "num-partitions": 3}, RecordDict(), run_config)).content

    return answer, study_from_run_config(run_config)


def test_no_value_of_a_local_layer_leaves_and_a_restart_changes_no_bit(node_of, tmp_path: Path) -> None:
    answer, study = node_of
    start = build_initial_model(study)
    assert answer(node.join, start, 1)[records.SITE][records.MODEL_HASH] == records.layout_hash(
        records.from_array_record(start)
    )
    sent = [answer(node.train, start, 1)[records.ARRAYS]]
    sent.append(answer(node.train, sent[0], 2)[records.ARRAYS])
    (saved,) = (tmp_path / "store").glob("*/state/*/*/layers-round-00001.safetensors")
    own = {n for n in layers.local_names(study, build_network(study)) if "running" in n or n.endswith("weight")}
    theirs = load_file(saved)
    assert own <= theirs.keys()
    for name in own:
        assert all(theirs[name].tobytes() not in array.data for reply in sent for array in reply.values())
    node_cache.forget_prepared()
    for cache in (node_cache.get_network, node_cache.simulated_sites, initial_layers.initial_kept_layers):
        cache.cache_clear()
    again = answer(node.train, sent[0], 2)[records.ARRAYS]
    assert all(np.array_equal(again[n].numpy(), sent[1][n].numpy()) for n in again)
    assert list(again) == list(start)


def test_what_does_not_belong_to_the_network_is_refused(study_of, organs, make_task) -> None:
    study = study_of("unet")
    sent = layers.shared_arrays(study, build_network(study)) | {"other": np.zeros(1, np.float32)}
    task = local_layers.with_local_layers(make_task(study, organs(), 1, sent))
    with pytest.raises(ExchangeError, match="MODEL-MISMATCH"):
        session.train(task)
