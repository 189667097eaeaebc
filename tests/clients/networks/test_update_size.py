"""The size of what leaves after training, as the approval tells it, against what really leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medfl.clients.networks.layers import shared_arrays
from medfl.clients.networks.network_builders import build_network
from medfl.clients.networks.update_size import count_update_bytes
from medfl.messages import update_codecs
from medfl.study.network_options import NETWORKS_BY_KIND
from medfl.testing.sites import make_study

_OPTIONS: dict[str, dict[str, Any]] = {
    "unet": {"channels": "4,8", "residual-units": 1},
    "cnn": {"channels": "4,8"},
    "basic-unet": {"features": "4,4,8,8,16,4"},
    "dynunet": {"filters": "4,8,8"},
    "segresnet": {"filters": 8},
    "swin-unetr": {"features": 12},
    "unetr": {"features": 4, "hidden": 24, "heads": 2},
    "resnet": {"depth": 10, "width": 0.1},
    "vit": {"hidden": 24, "heads": 2, "layers": 1, "patch": 8},
}


@pytest.mark.parametrize("name", sorted({name for names in NETWORKS_BY_KIND.values() for name in names}))
def test_the_size_is_that_of_the_built_network(name: str) -> None:
    kind = "segmentation" if name in NETWORKS_BY_KIND["segmentation"] else "classification"
    size = {"training": {"patch": "32,32"}} if kind == "segmentation" else {"preprocessing": {"size": "32,32"}}
    study = make_study(kind, network={"name": name, **_OPTIONS.get(name, {})}, **size)
    built = shared_arrays(study, build_network(study))
    assert count_update_bytes(study) == {"federated": sum(array.nbytes for array in built.values())}


@pytest.mark.parametrize("codec", ["bf16", "int8", "top-k"])
def test_a_compressed_update_is_counted_as_it_is_packed(codec: str) -> None:
    study = make_study(compression={"codec": codec, "keep": 0.3})
    model = shared_arrays(study, build_network(study))
    update = update_codecs.diff({name: array + array.dtype.type(1) for name, array in model.items()}, model)
    if codec == "bf16":
        packed = update_codecs.to_bf16(update)
    elif codec == "int8":
        packed = update_codecs.to_int8(update, model, 1)
    else:
        packed = update_codecs.to_top_k(update, study.compression.keep)
    whole = [array for array in model.values() if not np.issubdtype(array.dtype, np.floating)]
    assert count_update_bytes(study)["federated"] == sum(array.nbytes for array in (*packed.values(), *whole))


def test_layers_that_stay_do_not_count_except_where_the_site_trains_alone() -> None:
    study = make_study(arms="federated,local", strategy={"name": "fedper"})
    whole = sum(array.nbytes for array in shared_arrays(make_study(), build_network(study)).values())
    sizes = count_update_bytes(study)
    assert sizes["federated"] < sizes["local"] == whole


def test_the_control_variate_of_scaffold_is_as_large_as_the_model() -> None:
    study = make_study(strategy={"name": "scaffold"}, optimizer={"name": "sgd"})
    assert count_update_bytes(study)["federated"] == 2 * count_update_bytes(make_study())["federated"]
