"""Training of a part of a network: what is trained, what travels, and low-rank updates that are merged in the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from medfl.aggregate import ExactMean
from medfl.clients import session
from medfl.clients.initial_model import build_initial_models
from medfl.clients.networks import layers
from medfl.clients.networks.arrays import get_arrays, load_arrays
from medfl.clients.networks.network_builders import build_network, network_names
from medfl.clients.networks.tuning import build_training_network, start_training, trained_names
from medfl.clients.networks.update_size import count_update_bytes
from medfl.clients.node import _hash_model as hash_at_site
from medfl.clients.start import initial_layers
from medfl.clients.training import local_layers
from medfl.errors import ConfigError
from medfl.messages import records
from medfl.runs.low_rank_arrays import fold_low_rank, merge_low_rank
from medfl.server_app import _hash_model as hash_at_server
from medfl.study.network_options import NETWORKS_BY_KIND
from medfl.testing.sites import make_site, make_study
from tests.clients.networks.test_layers import SMALL

START = {"file": "model.pt", "sha256": "0" * 64, "arrays": "0" * 64}
LORA = {"tune": "lora", "lora-rank": 2}


def study_of(name: str = "unet", dimension: int = 2, training: dict[str, Any] | None = None, **tables: Any) -> Any:
    kind = "segmentation" if name in NETWORKS_BY_KIND["segmentation"] else "classification"
    network = {"name": name, **SMALL.get(name, {}), **tables.pop("network", {})}
    size = {"size": ",".join(["64" if dimension == 2 else "32"] * dimension)}
    return make_study(kind, dimension, network=network, preprocessing=size, training=training or LORA, **tables)


def images_of(study: Any) -> torch.Tensor:
    return torch.randn(2, 1, *study.preprocessing.size, generator=torch.Generator().manual_seed(1)).double()


def shake(net: torch.nn.Module) -> None:
    """Change everything that is trained."""
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.05)


@pytest.mark.parametrize("name", network_names())
def test_a_new_update_changes_nothing_and_merged_weights_give_its_outputs(name: str) -> None:
    study = study_of(name)
    plain, net = build_network(study).double().eval(), build_training_network(study).double().eval()
    images = images_of(study)
    with torch.no_grad():
        assert torch.equal(net(images), plain(images))
        shake(net)
        tuned = net(images)
        load_arrays(plain, merge_low_rank(study, get_arrays(net)))
        merged = plain(images)
        load_arrays(net, fold_low_rank(study, get_arrays(net)))
        folded = net(images)
    assert not torch.equal(tuned, torch.zeros_like(tuned))
    assert (tuned - merged).abs().max() <= 1e-9 * max(1.0, float(tuned.abs().max()))
    assert torch.equal(merged, folded)


@pytest.mark.parametrize("name", ["unet", "segresnet", "dynunet"])
def test_three_dimensions_and_transposed_convolutions_have_updates_too(name: str) -> None:
    study = study_of(name, 3)
    plain, net = build_network(study).double().eval(), build_training_network(study).double().eval()
    shake(net)
    load_arrays(plain, merge_low_rank(study, get_arrays(net)))
    with torch.no_grad():
        one, other = net(images_of(study)), plain(images_of(study))
    assert (one - other).abs().max() <= 1e-9 * max(1.0, float(one.abs().max()))
    convolutions = [layer for layer in net.modules() if hasattr(layer, "weight") and layer.weight.ndim == 5]
    assert convolutions
    assert all(layer.lora_B.requires_grad and not layer.lora_A.requires_grad for layer in convolutions)


def test_the_seed_and_the_name_of_a_layer_decide_its_a() -> None:
    one, two = (get_arrays(build_training_network(study_of(training={"tune": t}))) for t in ("lora", "lora,head"))
    common = [name for name in one if name.endswith("lora_A") and name in two]
    assert common
    assert all(np.array_equal(one[name], two[name]) for name in common)
    other = get_arrays(build_training_network(study_of(seed=5)))
    assert not any(np.array_equal(one[name], other[name]) for name in common)


@pytest.mark.parametrize(
    ("tune", "expected"),
    [
        ("head", lambda name: name.startswith("model.2.")),
        ("norm", lambda name: ".adn.N." in name),
        ("lora", lambda name: name.endswith("lora_B")),
        ("model.0.*.bias", lambda name: name.startswith("model.0.") and name.endswith(".bias")),
    ],
)
def test_what_a_study_names_is_trained_and_travels(tune: str, expected: Any, organs: Any, make_task: Any) -> None:
    study = study_of(training={"tune": tune, "local-steps": 2}, arms="federated,local")
    net = build_training_network(study)
    shared = layers.shared_arrays(study, net)
    assert shared
    assert list(shared) == [name for name in get_arrays(net) if expected(name)]
    assert set(shared) == trained_names(study, net)
    for arm in ("federated", "local"):
        task = local_layers.with_local_layers(make_task(study, organs(), received=shared, arm=arm))
        assert list(task.received) == list(get_arrays(net))
        trained = session.train(task)
        changed = {name for name, tensor in trained.arrays.items() if not np.array_equal(tensor, task.received[name])}
        assert changed
        assert changed <= set(shared)
        assert list(local_layers.without_local_layers(task, trained).arrays) == list(shared)
    size = sum(tensor.nbytes for tensor in shared.values())
    assert count_update_bytes(study) == {"federated": size, "local": size}
    models = build_initial_models(study)
    assert list(models[records.INITIAL]) == list(shared)
    assert list(models[records.BASE]) == list(get_arrays(net))


def test_frozen_batch_normalisation_keeps_its_statistics_and_uses_them(organs: Any, make_task: Any) -> None:
    study = study_of(training={"tune": "lora,head", "local-steps": 2}, network={"norm": "batch"})
    net = build_training_network(study)
    task = local_layers.with_local_layers(make_task(study, organs(), received=layers.shared_arrays(study, net)))
    trained = session.train(task).arrays
    statistics = [name for name in trained if "running" in name or "num_batches" in name]
    assert statistics
    assert all(np.array_equal(trained[name], task.received[name]) for name in statistics)
    start_training(study, net)
    norms = [layer for layer in net.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert norms
    assert net.training
    assert not any(layer.training or layer.weight.requires_grad for layer in norms)


@pytest.mark.parametrize("arm", ["federated", "local"])
def test_batch_normalisation_at_a_site_is_frozen_where_nothing_of_it_is_trained(arm: str, organs: Any, make_task: Any) -> None:
    tables: dict[str, Any] = {"network": {"norm": "batch"}, "personal": {"layers": "norm"}, "arms": "federated,local"}
    study = study_of(training={"tune": "model.0.*,model.2.*", "local-steps": 2}, **tables)
    net = build_training_network(study)
    task = local_layers.with_local_layers(make_task(study, organs(), received=layers.shared_arrays(study, net, arm), arm=arm))
    trained = session.train(task).arrays
    moved = {name for name, tensor in trained.items() if not np.array_equal(tensor, task.received[name])}
    assert any("running" in name for name in moved)
    assert moved <= trained_names(study, net)


def test_the_scale_of_an_update_is_that_of_its_own_rank() -> None:
    study = study_of(training={"tune": "lora", "lora-rank": 16, "lora-alpha": 16})
    updated: list[Any] = [layer for layer in build_training_network(study).modules() if hasattr(layer, "lora_A")]
    cut = [layer for layer in updated if len(layer.lora_A) < 16]
    assert cut
    assert all(layer.lora_scale == 16 / len(layer.lora_A) for layer in cut)
    layer = {"x.weight": np.zeros((1, 4)), "x.lora_A": np.ones((1, 4)), "x.lora_B": np.ones((1, 1))}
    assert np.array_equal(merge_low_rank(study, layer)["x.weight"], np.full((1, 4), 16.0))


def test_a_site_and_the_server_hash_the_same_and_a_frozen_bit_changes_the_second_half_alone() -> None:
    study = study_of()
    models = build_initial_models(study)
    shared = records.array_views(models[records.INITIAL])
    frozen = initial_layers.frozen_arrays(study)
    at_site = hash_at_site(study, make_site())
    assert at_site == hash_at_server(models)
    name = next(name for name, x in frozen.items() if x.dtype.kind == "f")
    other = frozen[name].copy()
    other.flat[0] = np.nextafter(other.flat[0], np.float32(np.inf))
    changed = records.model_hash(shared, {**frozen, name: other})
    assert changed.partition(":")[0] == at_site.partition(":")[0]
    assert changed.partition(":")[2] != at_site.partition(":")[2]


def test_a_sites_own_head_is_trained_beside_shared_updates(organs: Any, make_task: Any) -> None:
    study = study_of(training={"tune": "lora,head", "local-steps": 2}, strategy={"name": "fedper"})
    net = build_training_network(study)
    shared = layers.shared_arrays(study, net)
    assert all(name.endswith("lora_B") for name in shared)
    task = local_layers.with_local_layers(make_task(study, organs(), received=shared))
    local_layers.without_local_layers(task, session.train(task))
    later = local_layers.with_local_layers(make_task(study, organs(), 2, shared))
    moved = {name for name in later.received if not np.array_equal(later.received[name], task.received[name])}
    assert moved
    assert moved <= layers.local_names(study, net)


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"training": {"tune": "model.9.*"}}, "is the name of no parameter"),
        ({"training": {"tune": "*.adn.N.*"}, "network": {"norm": "batch"}}, "is the name of no parameter .* can be trained"),
        ({"training": {"tune": "model.2.*"}, "strategy": {"name": "moon"}}, "'moon' compares what comes before the head"),
        ({"training": {"tune": "model.2.*"}, "strategy": {"name": "fedper"}}, "nothing is trained of what the hospitals share"),
        ({"training": {"tune": "model.0.*"}, "strategy": {"name": "fedper"}}, "which stay at the hospitals"),
        ({"training": {"tune": "*"}}, 'is every parameter of the network.*Write tune = "all"'),
        ({"training": {"tune": "lora,*.*"}}, "is every parameter of the network"),
        ({"training": {"tune": "*"}, "network": {"norm": "batch-frozen"}, "start": START}, "is every parameter of the network"),
    ],
)
def test_patterns_are_held_against_the_network(tables: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_training_network(study_of(**tables))


def average(models: list[dict[str, Any]]) -> dict[str, Any]:
    mean = ExactMean(models[0])
    for model in models:
        mean.add(model, 1.0)
    return mean.result()


@pytest.mark.parametrize(("average_of", "is_exact"), [("frozen-a", True), ("both", False)])
def test_the_mean_of_updates_is_exact_where_a_is_frozen(average_of: str, is_exact: bool) -> None:
    study = study_of(training={**LORA, "lora-average": average_of})
    models = []
    for k in range(2):
        net = build_training_network(study)
        with torch.no_grad():
            for parameter in net.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(k)))
        models.append(get_arrays(net))
    of_factors = merge_low_rank(study, average(models))
    of_products = average([merge_low_rank(study, model) for model in models])
    distance = max(float(np.abs(of_factors[name] - of_products[name]).max()) for name in of_products)
    assert (distance < 1e-5) == is_exact
