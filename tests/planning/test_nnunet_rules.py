"""The rules of nnU-Net give the numbers that nnU-Net itself gives; golden.json was made with it by make_golden.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.planning.nnunet_rules import Topology, feature_map_values, plan_network, plan_topology, target_spacing

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden.json").read_text())["data-sets"]


def nnunet_order(facts: dict[str, Any]) -> tuple[list[int], list[float], list[float], int]:
    """Return the axes, the target spacing and the median shape in their order, and the number of cases."""
    spacings = np.array([spacing for spacing, _, times in facts["cases"] for _ in range(times)])
    shapes = np.array([shape for _, shape, times in facts["cases"] for _ in range(times)])
    target = target_spacing(lambda axis, p: float(np.percentile(spacings[:, axis], p)), np.median(shapes, 0).tolist())
    new = np.median(np.round(spacings / target * shapes), 0)
    coarse = int(np.argmax(target))
    axes = [coarse, *(axis for axis in range(3) if axis != coarse)]
    return axes, [target[axis] for axis in axes], [float(new[axis]) for axis in axes], len(spacings)


@pytest.mark.parametrize("name", GOLDEN)
def test_spacing_and_axes_are_those_of_nnunet(name: str) -> None:
    axes, spacing, shape, _ = nnunet_order(GOLDEN[name])
    assert axes == GOLDEN[name]["axes"]
    assert spacing == GOLDEN[name]["3d"]["spacing"]
    assert shape == GOLDEN[name]["3d"]["median-shape"]


@pytest.mark.parametrize("dimension", ["2d", "3d"])
@pytest.mark.parametrize("name", GOLDEN)
def test_patch_batch_and_network_are_those_of_nnunet(name: str, dimension: str) -> None:
    facts = GOLDEN[name]
    _, spacing, shape, cases = nnunet_order(facts)
    voxels = float(np.prod(shape) * cases)  # of the volumes, in 2-D too
    skip = 3 - int(dimension[0])
    planned = plan_network(spacing[skip:], shape[skip:], facts["classes"], voxels, facts["gpu-gb"])
    assert json.loads(json.dumps([planned.topology.patch, planned.topology.strides, planned.topology.kernels])) == [
        facts[dimension][key] for key in ("patch", "strides", "kernels")
    ]
    assert list(planned.topology.features) == facts[dimension]["features"]
    assert planned.batch == facts[dimension]["batch"]


def test_a_coarse_axis_is_halved_only_when_the_others_have_become_as_coarse() -> None:
    found = plan_topology((4.0, 1.0, 1.0), (16, 64, 64))
    assert found.strides == ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2))
    assert found.kernels == ((1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))
    assert found.divisors == (4, 16, 16)
    assert found.features == (32, 64, 128, 256, 320)


def test_feature_maps_are_counted_as_by_hand() -> None:
    # down 2*32*64 + 2*64*16, up 3*32*64, output 2*64
    assert feature_map_values(Topology((8, 8), ((1, 1), (2, 2)), ((3, 3), (3, 3))), classes=2) == 4096 + 2048 + 6144 + 128
