"""Inference on whole images: in one pass or by sliding windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from medfl.clients.training.batches import padded_shape, read_window
from medfl.clients.training.devices import Device
from medfl.clients.training.forward import forward
from medfl.data.store.prepared_data import PreparedCase
from medfl.study import Study

Predictor = Callable[[Tensor, float], Tensor]  # returns the logits of whole images, given the overlap of windows

_MAX_VOXELS = 500_000  # in one forward pass; more gains nothing on a CPU and little on a GPU
_MAX_IMAGES = 32
_MAX_VALUES_ON_DEVICE = 2**28  # values of the logits of one image; larger ones are assembled in main memory


def group_cases(study: Study, cases: Iterable[PreparedCase]) -> Iterator[list[PreparedCase]]:
    """Yield groups of consecutive cases that fit one forward pass: same padded shape, and not too many voxels."""
    group: list[PreparedCase] = []
    before: tuple[int, ...] = ()
    for case in cases:
        shape = padded_shape(study, case.image.shape[1:])
        limit = max(1, min(_MAX_IMAGES, _MAX_VOXELS // math.prod(shape)))
        if group and (shape != before or len(group) >= limit):
            yield group
            group = []
        group.append(case)
        before = shape
    if group:
        yield group


def read_images(study: Study, cases: Sequence[PreparedCase]) -> Tensor:
    """Read whole images of one padded shape.

    Returns
    -------
    Tensor
        float32 (B, C, X, Y[, Z]); smaller images are centred, with zeros around them, as in training.
    """
    first = cases[0].image.shape[1:]
    images = torch.zeros((len(cases), study.task.channel_count, *padded_shape(study, first)))
    view = images.numpy()
    for k, case in enumerate(cases):
        read_window(case.image, view[k], [0] * len(first))
    return images


def build_predictor(study: Study, net: nn.Module, device: Device) -> Predictor:
    """Return the predictor of one model, whose arguments are otherwise those of `predict`."""
    return partial(predict, study, net, device)


def predict(study: Study, net: nn.Module, device: Device, images: Tensor, overlap: float) -> Tensor:
    """Return the logits of whole images.

    Parameters
    ----------
    study : Study
        Images larger than its patch are covered by windows of that size, blended with Gaussian weights.
    net : torch.nn.Module
        Network in evaluation mode, on `device`.
    device : Device
        Device and precision.
    images : Tensor
        Images as `read_images` returns them.
    overlap : float
        Share of a window that overlaps with its neighbour.

    Returns
    -------
    Tensor
        float32 (B, classes, ...), on the device unless it is very large.
    """
    patch = study.training.patch
    windows = study.task.kind == "segmentation" and bool(patch) and tuple(images.shape[2:]) != patch
    with torch.inference_mode(), device.autocast():
        if not windows:
            return forward(net, images.to(device.torch_device)).float()
        values = len(images) * len(study.task.classes) * math.prod(images.shape[2:])
        stitched: Tensor = sliding_window_inference(
            images,
            patch,
            max(1, min(_MAX_IMAGES, _MAX_VOXELS // math.prod(patch))),
            lambda window: forward(net, window).float(),
            overlap=overlap,
            mode="gaussian",
            sw_device=device.torch_device,
            device=device.torch_device if values <= _MAX_VALUES_ON_DEVICE else torch.device("cpu"),
        )
    return stitched


def crop_padding(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the middle part of the last axes of a tensor: the image without its padding."""
    inside: list[slice] = []
    for want, have in zip(shape, tensor.shape[-len(shape) :], strict=True):
        before = (have - want) // 2
        inside.append(slice(before, before + want))
    index: tuple[Any, ...] = (..., *inside)
    return tensor[index]
