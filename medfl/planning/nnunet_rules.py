"""Rules of nnU-Net v2, which derive voxel size, patch, batch and network from the images of a data set.

Isensee et al., Nature Methods 2021; the rules are those of nnunetv2 2.8.1 (``default_experiment_planner.py``,
``network_topology.py``), and give the same numbers. Axes are in nnU-Net's order, the coarsest first. The cascade, in which
a network of low resolution comes before one of full resolution, is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

ANISOTROPY_THRESHOLD = 3.0  # ratio of voxel sizes, and of numbers of voxels, above which an image is anisotropic
MIN_FEATURE_MAP = 4  # voxels that are left along an axis after it is halved
BASE_FEATURES = 32
MAX_FEATURES = {2: 512, 3: 320}
CONVOLUTIONS = 2  # of a stage, in the encoder and in the decoder
MIN_BATCH = 2
MAX_DATASET_COVERED = 0.05  # share of all voxels of the data set that a batch may hold
REFERENCE_GB = 8.0
REFERENCE_VALUES = {2: 85e6, 3: 560e6}  # values of all feature maps that fit into that much memory...
REFERENCE_BATCH = {2: 12, 3: 2}  # ...with this batch
INITIAL_PATCH_VOXELS = {2: 2048**2, 3: 256**3}  # of a patch that is certainly too large

Sizes = tuple[int, ...]
_START = 1  # kernel along an axis that is much coarser than the others, until pooling has evened them out
_KERNEL = 3


@dataclass(frozen=True)
class Topology:
    """Topology of a U-Net: the strides and kernels of its stages.

    Parameters
    ----------
    patch : tuple of int
        Size of the input, padded to what can be halved.
    strides, kernels : tuple of tuple of int
        Strides and kernel sizes for each stage and axis; the first stage does not shrink its input.
    """

    patch: Sizes
    strides: tuple[Sizes, ...]
    kernels: tuple[Sizes, ...]

    @property
    def divisors(self) -> Sizes:
        """Number that each side of an input must be a multiple of."""
        return tuple(math.prod(axis) for axis in zip(*self.strides, strict=True))

    @property
    def features(self) -> Sizes:
        """Channels of each stage."""
        return tuple(min(MAX_FEATURES[len(self.patch)], BASE_FEATURES * 2**stage) for stage in range(len(self.strides)))


@dataclass(frozen=True)
class NetworkPlan:
    """Result of the rules.

    Parameters
    ----------
    topology : Topology
        Patch and network.
    batch : int
        Patches in a step.
    """

    topology: Topology
    batch: int


def target_spacing(percentile: Callable[[int, float], float], sizes: Sequence[float]) -> tuple[float, ...]:
    """Choose the voxel size that all images are resampled to: the median, but finer along an axis of few thick slices.

    Parameters
    ----------
    percentile : callable
        Returns a percentile of the voxel sizes in mm, given an axis and a percentage.
    sizes : sequence of float
        Median number of voxels along each axis.

    Returns
    -------
    tuple of float
        Millimetres.
    """
    axes = range(len(sizes))
    target = [percentile(axis, 50) for axis in axes]
    coarse = max(axes, key=lambda axis: target[axis])  # the first of equals, as numpy's argmax
    finest_slices = max(target[axis] for axis in axes if axis != coarse)
    fewest_voxels = min(sizes[axis] for axis in axes if axis != coarse)
    if target[coarse] > ANISOTROPY_THRESHOLD * finest_slices and sizes[coarse] * ANISOTROPY_THRESHOLD < fewest_voxels:
        thin = percentile(coarse, 10)
        target[coarse] = thin if thin >= finest_slices else finest_slices + 1e-5
    return tuple(target)


def plan_topology(spacing: Sequence[float], patch: Sequence[float]) -> Topology:
    """Halve the axes one after the other, the fine ones first, while what is left is large enough.

    Parameters
    ----------
    spacing : sequence of float
        Voxel size in mm, or anything in proportion to it.
    patch : sequence of float
        Size of the input before padding.
    """
    axes = range(len(spacing))
    size, step = list(map(float, patch)), list(map(float, spacing))
    kernel = [_START] * len(step)
    strides, kernels = [(1,) * len(step)], []
    while halved := _axes_to_pool(size, step):
        kernel = [_KERNEL if kernel[axis] == _KERNEL or step[axis] / min(step) < 2 else _START for axis in axes]
        kernels.append(tuple(kernel))
        strides.append(tuple(2 if axis in halved else 1 for axis in axes))
        for axis in halved:
            size[axis], step[axis] = math.ceil(size[axis] / 2), 2 * step[axis]
    kernels.append((_KERNEL,) * len(step))
    divisors = [math.prod(axis) for axis in zip(*strides, strict=True)]
    padded = tuple(math.ceil(side / divisor) * divisor for side, divisor in zip(patch, divisors, strict=True))
    return Topology(padded, tuple(strides), tuple(kernels))


def feature_map_values(network: Topology, classes: int) -> int:
    """Return the number of values in all feature maps of a U-Net, from which nnU-Net estimates its memory.

    Parameters
    ----------
    network : Topology
        The network and the size of its input.
    classes : int
        Channels of its output.
    """
    shape = list(network.patch)
    voxels = []
    for stride in network.strides:
        shape = [side // by for side, by in zip(shape, stride, strict=True)]
        voxels.append(math.prod(shape))
    down = sum(CONVOLUTIONS * f * v for f, v in zip(network.features, voxels, strict=True))
    up = sum((CONVOLUTIONS + 1) * f * v for f, v in zip(network.features[:-1], voxels[:-1], strict=True))  # 1: transposed
    return down + up + (classes * voxels[0] if len(voxels) > 1 else 0)


def plan_network(spacing: Sequence[float], shape: Sequence[float], classes: int, voxels: float, gpu_gb: float) -> NetworkPlan:
    """Choose the largest patch that fits the memory, the network for it, and the batch.

    Parameters
    ----------
    spacing : sequence of float
        Voxel size after resampling, in mm.
    shape : sequence of float
        Median number of voxels along each axis after resampling.
    classes : int
        Classes of the task, with the background.
    voxels : float
        Voxels of the whole data set after resampling.
    gpu_gb : float
        Memory of the smallest GPU that takes part, GB.
    """
    dimension = len(spacing)
    reference = REFERENCE_VALUES[dimension] * gpu_gb / REFERENCE_GB
    network = plan_topology(spacing, _initial_patch(spacing, shape))
    while (values := feature_map_values(network, classes)) / REFERENCE_BATCH[dimension] * MIN_BATCH > reference:
        network = plan_topology(spacing, _shrink_patch(network, spacing, shape))
    batch = round(reference / values * REFERENCE_BATCH[dimension])
    max_batch = round(voxels * MAX_DATASET_COVERED / math.prod(network.patch))
    return NetworkPlan(network, max(min(batch, max_batch), MIN_BATCH))


def _axes_to_pool(size: Sequence[float], step: Sequence[float]) -> list[int]:
    large = [axis for axis, side in enumerate(size) if side >= 2 * MIN_FEATURE_MAP]
    fine = [axis for axis in large if step[axis] / min(step[a] for a in large) < 2]
    return [] if len(fine) == 1 and size[fine[0]] < 3 * MIN_FEATURE_MAP else fine


def _initial_patch(spacing: Sequence[float], shape: Sequence[float]) -> list[float]:
    dimension = len(spacing)
    per_mm = [1 / step for step in spacing]
    scale = (INITIAL_PATCH_VOXELS[dimension] / math.prod(per_mm)) ** (1 / dimension)
    return [min(round(n * scale), side) for n, side in zip(per_mm, shape, strict=True)]


def _shrink_patch(network: Topology, spacing: Sequence[float], shape: Sequence[float]) -> list[int]:
    """Shorten the axis along which the patch covers most of the image, by the least that the network allows."""
    coverage = [side / whole for side, whole in zip(network.patch, shape, strict=True)]
    axis = max(range(len(coverage)), key=lambda a: (coverage[a], a))
    tried, patch = list(network.patch), list(network.patch)
    tried[axis] -= network.divisors[axis]
    patch[axis] -= plan_topology(spacing, tried).divisors[axis]  # a smaller input may be halved fewer times
    return patch
