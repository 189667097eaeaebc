"""Weights of other networks as the first model of a study: exactly theirs, or one sentence that says why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks import nets
from torch import Tensor, nn

from medfl.clients.networks.arrays import get_arrays, load_arrays
from medfl.clients.networks.network_builders import build_network
from medfl.clients.start.other_shapes import find_variants
from medfl.clients.start.start_model import load_start, map_start
from medfl.clients.start.weight_mapping import MappedWeights, map_weights
from medfl.clients.start.weights_file import Weights
from medfl.errors import MedflError
from medfl.runs.model_file import model_file_bytes
from medfl.study import Study
from medfl.testing.sites import make_study

START = {"file": "model.pt", "sha256": "0" * 64, "arrays": "0" * 64}
UNET = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2, "channels": (4, 8), "strides": (2,), "num_res_units": 1}
DENSENET = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2}
LEVELS = {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2], "filters": [4, 8, 16]}
CASES: dict[str, tuple[Callable[[], nn.Module], str, dict[str, Any]]] = {
    "unet, instance norm without parameters": (
        lambda: nets.UNet(**UNET),
        "segmentation",
        {"name": "unet", "channels": "4,8", "residual-units": 1},
    ),
    "unet, batch norm": (
        lambda: nets.UNet(**UNET, norm="batch"),
        "segmentation",
        {"name": "unet", "channels": "4,8", "residual-units": 1, "norm": "batch-frozen"},
    ),
    "dynunet": (lambda: nets.DynUNet(2, 1, 2, **LEVELS), "segmentation", {"name": "dynunet", "filters": "4,8,16"}),
    "segresnet": (lambda: nets.SegResNet(2, 8, 1, 2), "segmentation", {"name": "segresnet", "filters": 8}),
    "swin-unetr": (
        lambda: nets.SwinUNETR(in_channels=1, out_channels=2, feature_size=12, spatial_dims=2),
        "segmentation",
        {"name": "swin-unetr", "features": 12},
    ),
    "densenet121": (lambda: nets.DenseNet121(**DENSENET), "classification", {"name": "densenet121", "norm": "batch-frozen"}),
    "resnet": (
        lambda: nets.resnet10(spatial_dims=2, n_input_channels=1, num_classes=2, conv1_t_stride=2),
        "classification",
        {"name": "resnet", "depth": 10, "norm": "batch-frozen"},
    ),
    "efficientnet": (
        lambda: nets.EfficientNetBN("efficientnet-b0", pretrained=False, spatial_dims=2, in_channels=1, num_classes=2),
        "classification",
        {"name": "efficientnet", "norm": "batch-frozen"},
    ),
}


def study_of(kind: str, network: dict[str, Any], *, classes: str = "a,b", channels: str = "1", **start: str) -> Study:
    sizes = {"preprocessing": {"size": "32,32"}} if kind == "classification" else {}
    task = {"classes": classes, "channels": channels}
    return make_study(kind, network=network, task=task, start={**START, **start}, **sizes)


def like_trained(net: nn.Module) -> nn.Module:
    """Give every tensor values that training might have left, batch statistics among them."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator)
                tensor.copy_(0.5 + noise if name.endswith("running_var") else tensor + 0.1 * (noise - 0.5))
    return net.eval()


def outputs(study: Study, mapped: MappedWeights, images: Tensor) -> Tensor:
    net = build_network(study)
    load_arrays(net, mapped.arrays)
    with torch.inference_mode():
        logits: Tensor = net.eval()(images)
    return logits


def refusal(study: Study, tensors: dict[str, Tensor]) -> str:
    with pytest.raises(MedflError) as caught:
        map_weights(study, Weights(tensors))
    assert caught.value.code == "START-FIT"
    return str(caught.value)


@pytest.mark.parametrize("name", CASES)
def test_a_state_dict_of_monai_gives_the_outputs_of_its_network(name: str) -> None:
    make, kind, network = CASES[name]
    original, study = like_trained(make()), study_of(kind, network)
    images = torch.rand((2, 1, 64, 64), generator=torch.Generator().manual_seed(1))
    mapped = map_weights(study, Weights(dict(original.state_dict())))
    with torch.inference_mode():
        wanted = original(images)
    assert torch.allclose(outputs(study, mapped, images), wanted, rtol=1e-5, atol=1e-5)
    assert not mapped.left_out
    assert all(row.how in ("taken", "neutral") for row in mapped.table)


@pytest.fixture
def trained() -> nn.Module:
    return like_trained(build_network(study_of("segmentation", CASES["dynunet"][2])))


DYNUNET = CASES["dynunet"][2]


def test_prefixes_of_wrappers_are_told_as_other_names(trained: nn.Module) -> None:
    wrapped = {f"module.model.{name}": tensor for name, tensor in trained.state_dict().items()}
    mapped = map_weights(study_of("segmentation", DYNUNET), Weights({**wrapped, "module.step": torch.ones(1)}))
    assert {row.how for row in mapped.table} == {"renamed"}
    assert mapped.left_out == ("module.step",)
    assert mapped.sentences() == [
        f"{len(mapped.table)} tensors: taken under another name",
        "1 tensor of the file: left out, the first is 'module.step'",
    ]


def test_a_new_head_comes_from_the_seed_and_only_if_the_study_says_so(trained: nn.Module) -> None:
    state = dict(trained.state_dict())
    assert 'they are of a model of 2 classes, and the study has 3. Write head = "new"' in refusal(
        study_of("segmentation", DYNUNET, classes="a,b,c"), state
    )
    study = study_of("segmentation", DYNUNET, classes="a,b,c", head="new")
    mapped = map_weights(study, Weights(state))
    new = [row.name for row in mapped.table if row.how == "new"]
    assert new == ["output_block.conv.conv.weight", "output_block.conv.conv.bias"]
    seeded = get_arrays(build_network(study))
    assert all((mapped.arrays[name] == seeded[name]).all() for name in new)
    assert set(new) <= set(mapped.left_out)


@pytest.mark.parametrize("how", ["mean", "repeat"])
def test_equal_channels_give_what_one_gave(how: str, trained: nn.Module) -> None:
    study = make_study(network=DYNUNET, task={"channels": "T1,T2,FLAIR"}, start={**START, "channels": how})
    image = torch.rand((1, 1, 32, 32), generator=torch.Generator().manual_seed(2))
    mapped = map_weights(study, Weights(dict(trained.state_dict())))
    with torch.inference_mode():
        wanted = trained(image)
    assert torch.allclose(outputs(study, mapped, image.expand(-1, 3, -1, -1)), wanted, atol=1e-5)
    assert any(row.how == "channels" for row in mapped.table)


def test_further_channels_may_begin_at_zero_and_none_is_dropped_so(trained: nn.Module) -> None:
    study = make_study(network=DYNUNET, task={"channels": "T1,T2"}, start={**START, "channels": "zero"})
    image = torch.rand((1, 2, 32, 32), generator=torch.Generator().manual_seed(2))
    mapped = map_weights(study, Weights(dict(trained.state_dict())))
    with torch.inference_mode():
        wanted = trained(image[:, :1])
    assert torch.allclose(outputs(study, mapped, image), wanted, atol=1e-5)
    two = dict(build_network(study).state_dict())
    one = make_study(network=DYNUNET, start={**START, "channels": "zero"})
    assert "'zero' only adds" in refusal(one, two)


def test_other_channels_are_refused_unless_the_study_says_how(trained: nn.Module) -> None:
    study = make_study(network=DYNUNET, task={"channels": "T1,T2"}, start=START)
    assert "they take 1 image channels, and the study has 2" in refusal(study, dict(trained.state_dict()))


def test_what_is_of_another_network_says_so() -> None:
    study = study_of("segmentation", DYNUNET)
    assert "no name in the file is one of the network 'dynunet'" in refusal(study, {"encoder.weight": torch.ones(3)})
    volume = build_network(make_study(dimension=3, network=DYNUNET)).state_dict()
    assert "they are of a 3-D network, and the study's is 2-D" in refusal(study, dict(volume))
    wider = build_network(study_of("segmentation", {**DYNUNET, "filters": "8,16,32"})).state_dict()
    assert "(8, 1, 3, 3) in the file and (4, 1, 3, 3) in the study" in refusal(study, dict(wider))


def test_a_part_of_a_network_needs_a_word_of_the_study(trained: nn.Module) -> None:
    part = {name: tensor for name, tensor in trained.state_dict().items() if not name.startswith("upsamples")}
    part = {name: tensor for name, tensor in part.items() if "next_layer" not in name and "upsample" not in name}
    head = {"head": "new"} if not any(name.startswith("output_block") for name in part) else {}
    study = make_study(network=DYNUNET, start={**START, **head})
    assert 'Write missing = "new"' in refusal(study, part)
    mapped = map_weights(make_study(network=DYNUNET, start={**START, **head, "missing": "new"}), Weights(part))
    assert {row.how for row in mapped.table} >= {"taken", "new"}


def test_batch_norm_is_never_replaced_silently() -> None:
    state = dict(nets.UNet(**UNET, norm="batch").state_dict())
    study = study_of("segmentation", {"name": "unet", "channels": "4,8", "residual-units": 1})
    assert 'Write norm = "batch-frozen"' in refusal(study, state)


@pytest.mark.parametrize(("norm", "classes"), [("instance", "a,b"), ("batch", "a,b,c")])
def test_frozen_batch_norm_always_comes_from_the_file(norm: str, classes: str) -> None:
    state = dict(nets.UNet(**UNET, norm=norm).state_dict())
    study = study_of("segmentation", CASES["unet, batch norm"][2], classes=classes, head="new", missing="new")
    assert "of a frozen batch norm would not come from the file" in refusal(study, state)


def test_values_that_are_no_numbers_are_refused(trained: nn.Module) -> None:
    state = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    next(iter(state.values()))[:] = torch.nan
    for name, other in state.items():
        if other.shape == next(iter(state.values())).shape and name.startswith("skip_layers.downsample"):
            other[:] = torch.nan
    with pytest.raises(MedflError, match=r"no numbers|two values"):
        map_weights(study_of("segmentation", DYNUNET), Weights(state))


def test_frozen_batch_norm_stays_what_it_was_in_training() -> None:
    study = study_of("classification", {"name": "densenet121", "norm": "batch-frozen"})
    net = build_network(study).train()
    net(torch.rand((2, 1, 32, 32))).sum().backward()
    norms = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert norms
    for layer in norms:
        assert layer.weight.grad is None
        assert torch.equal(layer.running_mean, torch.zeros_like(layer.running_mean))


def test_a_model_of_medfl_is_the_start_to_the_bit_and_tells_its_network(tmp_path: Path) -> None:
    study = make_study()
    arrays = {name: array + array.dtype.type(0.01) for name, array in get_arrays(build_network(study)).items()}
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_file_bytes(study, arrays, {"arm": "federated", "site": "", "round": 1}))
    mapped, told = map_start(make_study(start=START), path)
    assert told["studies"] == study.approved_hash()
    assert all((mapped.arrays[name] == array).all() for name, array in arrays.items())
    named = make_study(start={"file": "model.safetensors", **told})
    assert load_start(named, path).table == mapped.table
    for key in ("sha256", "arrays"):
        with pytest.raises(MedflError, match="START-HASH"):
            load_start(make_study(start={"file": "m.safetensors", **told, key: "1" * 64}), path)
    with pytest.raises(MedflError, match=r"trained with network\.norm"):
        map_start(make_study(network={"norm": "group"}, start=START), path)
    with pytest.raises(MedflError, match="a model of the classes background, organ"):
        map_start(make_study(task={"classes": "background,liver"}, start=START), path)


def test_a_layer_between_unlike_numbers_of_channels_may_vanish_with_one_more() -> None:
    study = study_of("segmentation", {"name": "swin-unetr", "features": 12}, channels=",".join(f"c{k}" for k in range(11)))
    assert "swinViT.patch_embed.proj.weight" in find_variants(study).inputs
