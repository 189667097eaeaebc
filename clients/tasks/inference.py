"""Inference on whole images: in one pass or by sliding windows, and back onto the grid of the source."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray
from torch import Tensor, nn

from medfl.clients.training.batches import padded_shape, read_window
from medfl.clients.training.devices import Device
from medfl.clients.training.forward import forward
from medfl.data.store.prepared_data import PreparedCase, ReferenceMask
from medfl.study import Study

_MAX_VOXELS = 500_000  # in one forward pass; more gains nothing on a CPU and little on a GPU
_MAX_IMAGES = 32
_SLAB = 4_000_000  # voxels of the source grid that are resampled together
_MAX_VALUES_ON_DEVICE = 2**28  # values of the logits of one image; larger ones are assembled in main memory


def group_cases(study: Study, cases: Sequence[PreparedCase]) -> Iterator[list[PreparedCase]]:
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


def predict(study: Study, net: nn.Module, images: Tensor, device: Device, overlap: float) -> Tensor:
    """Return the logits of whole images.

    Parameters
    ----------
    study : Study
        Images larger than its patch are covered by windows of that size, blended with Gaussian weights.
    net : torch.nn.Module
        Network in evaluation mode, on `device`.
    images : Tensor
        Images as `read_images` returns them.
    device : Device
        Device and precision.
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


def resample_to_source(logits: Tensor, reference: ReferenceMask) -> NDArray[np.uint8]:
    """Resample class probabilities onto the grid of the source, and take the most likely class there.

    Probabilities are interpolated linearly; outside of the prepared image, which may be cropped, all is background. The volume
    is processed in slabs, so memory does not grow with it.

    Parameters
    ----------
    logits : Tensor
        float32 (classes, X, Y, Z) on the prepared grid.
    reference : ReferenceMask
        The grid of the source.

    Returns
    -------
    ndarray of uint8
        (X, Y, Z), the shape of ``reference.label``.
    """
    probabilities = torch.softmax(logits, 0)[None]
    to_prepared = np.linalg.inv(reference.prepared_affine) @ reference.affine
    shape = reference.label.shape
    thick = max(1, _SLAB // (shape[1] * shape[2]))
    out = np.zeros(shape, dtype=np.uint8)
    for first in range(0, shape[0], thick):
        last = min(first + thick, shape[0])
        grid = _sampling_grid(to_prepared, (range(first, last), range(shape[1]), range(shape[2])), logits.shape[1:])
        sampled = F.grid_sample(
            probabilities, grid.to(logits.device), mode="bilinear", padding_mode="zeros", align_corners=False
        )
        out[first:last] = sampled[0].argmax(0).to(torch.uint8).cpu().numpy()
    return out


def _sampling_grid(to_prepared: NDArray[np.float64], voxels: Sequence[range], shape: Sequence[int]) -> Tensor:
    """Return the positions of source voxels in the prepared image for `grid_sample`: (1, X, Y, Z, 3), axes reversed."""
    axes = []
    for k in (2, 1, 0):
        steps = [
            np.asarray(r, dtype=np.float64).reshape([-1 if a == b else 1 for b in range(3)]) * to_prepared[k, a]
            for a, r in enumerate(voxels)
        ]
        index = steps[0] + steps[1] + steps[2] + to_prepared[k, 3]
        axes.append(torch.from_numpy(((2.0 * index + 1.0) / shape[k] - 1.0).astype(np.float32)))
    return torch.stack(axes, -1)[None]
