from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from medfl.clients.networks.arrays import distinct_tensors, get_arrays
from medfl.clients.networks.network_builders import build_network, build_network_without_memory, network_names, replace_norm
from medfl.clients.training.batches import padded_shape
from medfl.errors import ConfigError
from medfl.study import network_options as tables
from medfl.study.sections import Training

SEGMENTATION, CLASSIFICATION = tables.NETWORKS_BY_KIND["segmentation"], tables.NETWORKS_BY_KIND["classification"]
SMALL = {
    "unet": {"channels": "4,8", "residual-units": 1},
    "cnn": {"channels": "4,8"},
    "dynunet": {"filters": "4,8,16"},
    "basic-unet": {"features": "4,4,8,8,8,4"},
    "segresnet": {"filters": 8},
    "unetr": {"hidden": 24, "heads": 4, "features": 4},
    "swin-unetr": {"features": 12},
    "vit": {"hidden": 24, "layers": 2},
    "resnet": {"depth": 10, "width": 0.25},
}


def test_every_network_of_the_study_table_can_be_built() -> None:
    assert set(network_names()) == {*SEGMENTATION, *CLASSIFICATION}


@pytest.mark.parametrize("norm", ["instance", "group"])
@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("name", [*SEGMENTATION, *CLASSIFICATION])
def test_network_gives_logits_and_has_no_batch_norm(make_study, name: str, dimension: int, norm: str) -> None:
    kind = "segmentation" if name in SEGMENTATION else "classification"
    side = 64 if dimension == 2 or name == "swin-unetr" or kind == "classification" else 32
    study = make_study(
        kind,
        dimension,
        network={"name": name, "norm": norm, **SMALL.get(name, {})},
        preprocessing={"size": ",".join([str(side)] * dimension)},
    )
    net = build_network(study)
    light = distinct_tensors(build_network_without_memory(study))
    assert all(tensor.is_meta for tensor in light.values())
    assert {n: (x.shape, x.dtype) for n, x in light.items()} == {
        n: (x.shape, x.dtype) for n, x in distinct_tensors(net).items()
    }
    kinds = [type(m) for m in net.modules()]
    assert not any(issubclass(k, nn.modules.batchnorm._BatchNorm) for k in kinds)
    sent = get_arrays(net)  # the server optimises all of floating point, so it must all be parameters
    assert {n for n, x in sent.items() if x.dtype.kind == "f"} <= {n for n, _ in net.named_parameters(remove_duplicate=False)}
    if name != "vit":
        wanted = nn.GroupNorm if norm == "group" else nn.modules.instancenorm._InstanceNorm
        assert any(issubclass(k, wanted) for k in kinds)
        assert not any(issubclass(k, nn.modules.instancenorm._InstanceNorm) for k in kinds) or norm == "instance"
    with torch.no_grad():
        logits = net.eval()(torch.zeros(1, 1, *[side] * dimension))
    assert tuple(logits.shape) == ((1, 2, *[side] * dimension) if kind == "segmentation" else (1, 2))


def test_first_weights_depend_on_the_seed_alone_and_leave_the_generator_be(make_study) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one = get_arrays(build_network(make_study(seed=5)))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    two, other = get_arrays(build_network(make_study(seed=5))), get_arrays(build_network(make_study(seed=6)))
    assert all(np.array_equal(one[k], two[k]) for k in one)
    assert not all(np.array_equal(one[k], other[k]) for k in one)


def test_group_norm_takes_the_largest_number_of_groups_that_divides_the_channels() -> None:
    net = replace_norm(nn.Sequential(nn.BatchNorm2d(24), nn.BatchNorm2d(12), nn.InstanceNorm2d(3)), "group")
    assert [(m.num_groups, m.num_channels) for m in net] == [(8, 24), (4, 12), (1, 3)]  # type: ignore[union-attr]


def test_layer_with_two_names_stays_one_layer() -> None:
    shared = nn.BatchNorm2d(4)
    net = replace_norm(nn.ModuleDict({"a": shared, "b": nn.Sequential(shared)}), "instance")
    assert net["a"] is net["b"][0]  # type: ignore[index]


def test_instance_norm_is_affine(make_study) -> None:
    norms = [m for m in build_network(make_study()).modules() if isinstance(m, nn.InstanceNorm2d)]
    assert norms
    assert all(m.affine for m in norms)


def test_arguments_that_make_no_network_are_a_config_error(make_study) -> None:
    study = make_study(network={"name": "unetr", "hidden": 25, "heads": 12}, preprocessing={"size": "32,32"})
    with pytest.raises(ConfigError, match="network"):
        build_network(study)


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (tables.UNet(channels="4,8,16"), (4, 4, 4)),  # type: ignore[arg-type]
        (tables.UNet(channels="4,8,16", strides="1,2"), (2, 2, 2)),  # type: ignore[arg-type]
        (tables.DynUNet(filters="4,8,16,32"), (8, 8, 8)),  # type: ignore[arg-type]
        (tables.DynUNet(filters="4,8,16", strides="1x1x1, 2x2x1, 2x2x2"), (4, 4, 2)),  # type: ignore[arg-type]
        (tables.SwinUNETR(), (32, 32, 32)),
        (tables.ResNet(), (1, 1, 1)),
    ],
)
def test_divisors_are_what_the_network_halves(network, expected: tuple[int, ...]) -> None:
    assert network.divisors(3) == expected


ANISOTROPIC = {"name": "dynunet", "filters": "4,8,16", "strides": "1x1x1, 2x2x1, 2x2x2", "kernels": "3x3x1, 3x3x3, 3x3x3"}


def test_anisotropic_network_halves_each_axis_as_often_as_it_says(make_study) -> None:
    study = make_study(dimension=3, network=ANISOTROPIC, training={"patch": "16,8,6"})
    net = build_network(study).eval()
    deepest: list[tuple[int, ...]] = []
    net.bottleneck.register_forward_hook(lambda _, __, out: deepest.append(tuple(out.shape[2:])))  # type: ignore[union-attr]
    with torch.no_grad():
        logits = net(torch.zeros(1, 1, 16, 8, 6))
    assert tuple(logits.shape) == (1, 2, 16, 8, 6)
    assert deepest == [(4, 2, 3)]
    assert net.input_block.conv1.conv.kernel_size == (3, 3, 1)  # type: ignore[union-attr]
    assert padded_shape(study.model_copy(update={"training": Training()}), (13, 8, 5)) == (16, 8, 6)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"strides": "1x1x1, 2x2x2"}, "strides"),
        ({"strides": "2x2x2, 2x2x2, 2x2x2"}, "strides"),
        ({"strides": "1x1, 2x2, 2x2"}, "strides"),
        ({"strides": "1x1x1, 2x2, 2x2x2"}, "strides"),
        ({"strides": "1x1x1, 2x2xb, 2x2x2"}, "1x2x2"),
        ({"kernels": "2x2x2, 3x3x3, 3x3x3"}, "odd"),
    ],
)
def test_levels_that_make_no_network_are_refused(make_study, change: dict[str, str], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        make_study(dimension=3, network=ANISOTROPIC | change)


def test_patch_is_checked_axis_by_axis(make_study) -> None:
    with pytest.raises(ConfigError, match=r"multiple of 4,4,2, one for each axis"):
        make_study(dimension=3, network=ANISOTROPIC, training={"patch": "16,8,5"})


def test_patch_that_the_network_cannot_halve_is_refused(make_study) -> None:
    with pytest.raises(ConfigError, match=r"multiple of 2"):
        make_study(training={"patch": "15,16"})


def test_loss_options_without_effect_are_refused(make_study) -> None:
    with pytest.raises(ConfigError, match=r"label-smoothing"):
        make_study(loss={"name": "dice-focal", "label-smoothing": 0.1})
    with pytest.raises(ConfigError, match=r"class-weights"):
        make_study(loss={"name": "generalized-dice", "class-weights": "balanced"})
