"""Each network that a study may name, as MONAI's class with its arguments; or the reason why there is no such class."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

from medfl.clients.networks.network_builders import build_network
from medfl.models.bundle_network import are_close, make_bundle_network
from medfl.models.known_pair import random_images
from medfl.study import Study, network_options
from medfl.testing.sites import make_study

SEGMENTATION, CLASSIFICATION = (network_options.NETWORKS_BY_KIND[kind] for kind in ("segmentation", "classification"))
SMALL: dict[str, dict[str, Any]] = {
    "unet": {"channels": "8,16", "residual-units": 0},
    "cnn": {"channels": "4,8"},
    "dynunet": {"filters": "8,8,16"},
    "basic-unet": {"features": "8,8,8,8,8,8"},
    "segresnet": {"filters": 8},
    "unetr": {"hidden": 24, "heads": 4, "features": 8},
    "swin-unetr": {"features": 24},
    "vit": {"hidden": 24, "layers": 2},
    "resnet": {"depth": 10, "width": 0.25},
}


def study_of(name: str, **changed: Any) -> Study:
    kind = "segmentation" if name in SEGMENTATION else "classification"
    return make_study(
        kind,
        network={"name": name, **SMALL.get(name, {}), **changed},
        preprocessing={"size": "64,64"},
        personal={"layers": "norm"},
    )


@pytest.mark.parametrize("norm", ["instance", "group", "batch"])
@pytest.mark.parametrize("name", [n for n in (*SEGMENTATION, *CLASSIFICATION) if n not in ("cnn", "vit")])
def test_monais_class_gives_the_same_logits(name: str, norm: str) -> None:
    study = study_of(name, norm=norm, dropout=0.1)
    net, images = build_network(study).eval(), random_images(study)
    found = make_bundle_network(study, net, images)
    assert found.definition is not None, found.reason
    other = ConfigParser(found.config()).get_parsed_content("network_def").eval()
    other.load_state_dict(found.state)
    with torch.inference_mode():
        assert are_close(other(images), net(images))


@pytest.mark.parametrize(
    ("name", "changed", "word"),
    [
        ("cnn", {}, "blocks"),
        ("vit", {}, "hidden states"),
    ],
)
def test_a_network_without_a_class_is_said(name: str, changed: dict[str, Any], word: str) -> None:
    study = study_of(name, **changed)
    found = make_bundle_network(study, build_network(study).eval(), random_images(study))
    assert found.definition is None
    assert word in found.reason


@pytest.mark.parametrize("changed", [{"channels": "4,16"}, {"residual-units": 1}])  # the last has a channel for each class
def test_channels_that_need_several_numbers_of_groups_are_said_layer_by_layer(changed: dict[str, Any]) -> None:
    study = study_of("unet", norm="group", **changed)
    found = make_bundle_network(study, build_network(study).eval(), random_images(study))
    assert "GroupNorm" in found.replacement


def test_random_images_are_always_the_same_and_fit_the_network() -> None:
    study = make_study(dimension=3)
    assert torch.equal(random_images(study), random_images(study))
    assert random_images(study).shape == (1, 1, 18, 16, 16)
    assert random_images(make_study("classification")).shape == (1, 1, 16, 16)
    patched = make_study(dimension=3, training={"patch": "32,32,32"})
    assert random_images(patched, window=True).shape == (1, 1, 32, 32, 32)
