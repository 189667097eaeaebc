"""Whether images are large enough for a network, which is told before anything is trained."""

from __future__ import annotations

import pytest

from medfl.clients.training.forward import check_size
from medfl.errors import TrainingError
from medfl.study.network_options import NETWORKS_BY_KIND
from medfl.testing.sites import make_study

SMALL = {
    "swin-unetr": {"features": 12},
    "unetr": {"features": 4, "hidden": 12, "heads": 2},
    "vit": {"hidden": 12, "heads": 2, "layers": 1},
    "resnet": {"depth": 10, "width": 0.1},
}
ONE_VOXEL = {"basic-unet": 16, "swin-unetr": 32, "densenet121": 32, "resnet": 32, "efficientnet": 32}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in NETWORKS_BY_KIND.items() for name in names])
def test_a_size_is_checked_for_every_network(kind: str, name: str) -> None:
    def check(side: int) -> None:
        check_size(make_study(kind, network={"name": name, **SMALL.get(name, {})}, preprocessing={"size": f"{side},{side}"}))

    check(64)
    if name in ONE_VOXEL:
        with pytest.raises(TrainingError, match="NET-TOO-DEEP"):
            check(ONE_VOXEL[name])
