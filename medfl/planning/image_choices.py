"""Choices of a new study that follow from the images: preprocessing, network, patch and batch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from medfl.planning.apply_plan import plan_to_keys
from medfl.planning.plan import Plan
from medfl.planning.study_choices import Choice, DataSummary

_SIDE = {False: 128, True: 224}  # pixels of the longer side of a picture: on a processor, on a GPU
_MASK_SIDE = {False: 128, True: 256}  # likewise where its pixels are classified
_VOLUME_SIDE = {False: 64, True: 96}  # voxels of the longest side of a volume that gets one class
_MULTIPLE = 16  # of which each side is one: networks of five levels halve it four times
_SMALLEST_SIDE = 32
_SMALLEST_RESNET_SIDE = 64  # which a ResNet makes 32 times as small
_MAX_CPU_VOXELS = 48**3  # of a patch that a processor trains on in seconds
_MAX_CPU_FILTERS = 128
_WHOLE_CT = "-1000,1000"  # HU: from air to dense bone
_ON_CPU = "No GPU was found on this machine, so the network is small enough for a processor."


def choose_for_images(data: DataSummary) -> tuple[tuple[Choice, ...], int]:
    """Return preprocessing, network and patch of a study, and how many images or patches a step should have.

    Parameters
    ----------
    data : DataSummary
        The data.
    """
    if data.is_segmentation and not data.is_flat:
        return _choose_for_marked_volumes(data)
    choices = (*_choose_size(data), *_choose_intensity(data), *_choose_network(data))
    return choices, 8 if data.is_segmentation else 16 if data.is_flat else 4


def _choose_size(data: DataSummary) -> Iterator[Choice]:
    limit = (_VOLUME_SIDE if not data.is_flat else _MASK_SIDE if data.is_segmentation else _SIDE)[data.has_gpu]
    smallest = _SMALLEST_RESNET_SIDE if _takes_resnet(data) else _SMALLEST_SIDE
    extent = [n * step for n, step in zip(data.shape, data.spacing or [1.0] * len(data.shape), strict=True)]
    if not extent:
        yield Choice("preprocessing.size", ",".join([str(limit)] * data.task.dimension))
        return
    if data.is_flat:
        sides = _fit_sides(extent, min(limit, max(data.shape)), smallest)
        seen = " x ".join(map(str, data.shape))
        yield Choice("preprocessing.size", ",".join(map(str, sides)), f"The median image has {seen} pixels.")
        return
    step = max(math.ceil(max(extent) / limit * 10) / 10, 0.1)
    sides = _fit_sides([side / step for side in extent], limit, smallest)
    why = "So that the median volume fits into the size below."
    yield Choice("preprocessing.spacing", ",".join([f"{step:g}"] * 3), why)
    yield Choice("preprocessing.size", ",".join(map(str, sides)))


def _fit_sides(extent: Sequence[float], longest: int, smallest: int) -> list[int]:
    """Return sides in about the proportions of an extent, the longest at most as long as is allowed."""
    factor = longest / max(extent)
    return [max(smallest, math.ceil(side * factor / _MULTIPLE - 0.25) * _MULTIPLE) for side in extent]


def _choose_intensity(data: DataSummary) -> Iterator[Choice]:
    if data.task.modality != "CT":
        yield Choice("preprocessing.intensity", "zscore")
        return
    yield Choice("preprocessing.intensity", "window")
    why = 'From air to dense bone; a window for what is looked for is better: "lung", "brain", "abdomen", or two numbers.'
    yield Choice("preprocessing.window", _WHOLE_CT, why, is_doubtful=True)


def _takes_resnet(data: DataSummary) -> bool:
    return not data.is_segmentation and (data.is_flat or data.has_gpu)


def _choose_network(data: DataSummary) -> Iterator[Choice]:
    why = "" if data.has_gpu else _ON_CPU
    if data.is_segmentation:
        yield Choice("network.name", "unet", why)
        yield Choice("network.channels", "32,64,128,256,512" if data.has_gpu else "16,32,64,128,256")
        yield Choice("network.residual-units", 2)
    elif _takes_resnet(data):
        yield Choice("network.name", "resnet", why)
        yield Choice("network.depth", 18 if data.has_gpu else 10)
        yield Choice("network.width", 1.0 if data.has_gpu else 0.5)
        yield Choice("network.norm", "instance")
    else:
        yield Choice("network.name", "cnn", why)
        yield Choice("network.channels", "16,32,64,128")


def _choose_for_marked_volumes(data: DataSummary) -> tuple[tuple[Choice, ...], int]:
    if data.plan is None:
        return _choose_without_plan(data)
    keys = plan_to_keys(data.plan)
    batch = int(keys.pop("training.batch-size") or 0)
    if data.has_gpu:
        why = {"network.name": "By nnU-Net's rules, from the size of the images."}
    else:
        patch = _shrink_patch(data.plan)
        keys["network.filters"] = ",".join(str(min(count // 2, _MAX_CPU_FILTERS)) for count in data.plan.filters)
        keys["training.patch"] = ",".join(map(str, patch))
        batch = 2
        why = {"network.name": f"By nnU-Net's rules, with half of its features. {_ON_CPU}"}
    if "preprocessing.spacing" in keys:
        why["preprocessing.spacing"] = "By nnU-Net's rules: the median of the images, finer along an axis of few thick slices."
    choices = tuple(Choice(key, value, why.get(key, "")) for key, value in keys.items() if value is not None)
    patch = tuple(int(side) for side in str(keys["training.patch"]).split(","))
    return (*choices, *_choose_foreground(patch, data.plan.shape)), batch


def _shrink_patch(plan: Plan) -> tuple[int, ...]:
    """Return the patch of a plan, made smaller along its longest side until a processor trains on it in seconds."""
    divisors = [math.prod(axis) for axis in zip(*plan.strides, strict=True)]
    patch = list(plan.patch)
    while math.prod(patch) > _MAX_CPU_VOXELS:
        axis = max(range(len(patch)), key=lambda each: (patch[each] > 2 * divisors[each], patch[each]))
        if patch[axis] <= 2 * divisors[axis]:
            break
        patch[axis] -= divisors[axis]
    return tuple(patch)


def _choose_without_plan(data: DataSummary) -> tuple[tuple[Choice, ...], int]:
    """Return the choices for volumes of which no plan was made: two levels, which fit volumes of few slices as well."""
    sides = [min(48, max(8, 4 * (side // 4))) for side in data.shape or (32, 32, 32)]
    choices = [
        *(_choose_intensity(data)),
        Choice("network.name", "unet", "No plan by nnU-Net's rules could be made, so this network is a small one."),
        Choice("network.channels", "16,32,64"),
        Choice("network.residual-units", 2),
        Choice("training.patch", ",".join(map(str, sides)), is_doubtful=True, why="It was not derived from the images."),
    ]
    return (*choices, *_choose_foreground(sides, data.shape)), 2


def _choose_foreground(patch: Sequence[int], shape: Sequence[int]) -> Iterator[Choice]:
    whole = bool(shape) and all(side >= size for side, size in zip(patch, shape, strict=True))
    why = "A patch holds most volumes whole, so it need not be centred on what is marked." if whole else ""
    yield Choice("training.foreground", 0.0 if whole else 0.33, why)
