"""Augmentation: random changes of training images, a whole batch at once.

MONAI has the same changes for one image at a time. To sample a batch with one grid, without a copy for each change, keeps
augmentation a small part of a training step on a CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from medfl.study.sections import Augmentation

_BLUR_RADII = 3.0  # standard deviations after which the Gaussian is cut


class Augmenter:
    """Random changes of batches; the same seed gives the same changes.

    Flips come first, then one spatial resampling for rotation, scale and shift together (linear for images, nearest for
    masks, mirrored at the border), then blur, contrast, grey values and noise. Each change happens to each image with
    ``probability``.

    Parameters
    ----------
    settings : Augmentation
        The table ``augmentation`` of the study.
    seed : int
        Not negative.
    """

    def __init__(self, settings: Augmentation, seed: int) -> None:
        self._settings = settings
        self._rng = np.random.default_rng(seed)
        self._noise_seed = seed
        self._generator: torch.Generator | None = None
        s = settings
        self._spatial = bool(s.rotate or s.scale or s.shift)
        grey = ((s.blur, self._blur), (s.gamma, self._gamma), (s.intensity, self._intensity), (s.noise, self._noise))
        self._intensity_changes: list[Callable[[Tensor], None]] = [change for amount, change in grey if amount]
        self._is_identity = s.probability == 0 or not (s.flip or self._spatial or self._intensity_changes)

    def __call__(self, images: Tensor, labels: Tensor, spacing: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        """Change a batch.

        Parameters
        ----------
        images : Tensor
            float32 (B, C, X, Y[, Z]); changed in place.
        labels : Tensor
            Masks (B, X, Y[, Z]), changed in place as the images are; or classes (B,), left alone.
        spacing : ndarray
            (B, D) in mm; with it a rotation keeps shapes where voxels are not cubes.

        Returns
        -------
        tuple of Tensor
            Images and labels.
        """
        if self._is_identity:
            return images, labels
        masks = labels if labels.ndim > 1 else None
        self._flip(images, masks)
        if self._spatial:
            self._resample(images, masks, spacing)
        for change in self._intensity_changes:
            change(images)
        return images, labels

    def _draw_items(self, count: int) -> NDArray[np.int64]:
        return np.flatnonzero(self._rng.random(count) < self._settings.probability)

    def _uniform(self, low: float, high: float, like: Tensor, items: int) -> Tensor:
        """Draw one number for each item, shaped to multiply a batch."""
        drawn = self._rng.uniform(low, high, items).astype(np.float32)
        return torch.from_numpy(drawn).to(like.device).reshape(-1, *[1] * (like.ndim - 1))

    def _flip(self, images: Tensor, masks: Tensor | None) -> None:
        for axis in self._settings.flip:
            for i in self._draw_items(len(images)):
                images[i] = images[i].flip(axis + 1)
                if masks is not None:
                    masks[i] = masks[i].flip(axis)

    def _resample(self, images: Tensor, masks: Tensor | None, spacing: NDArray[np.float64]) -> None:
        shape = images.shape[2:]
        items, matrices = [], []
        for i in range(len(images)):
            matrix = self._draw_matrix(np.array(shape), spacing[i])
            if matrix is not None:
                items.append(i)
                matrices.append(matrix)
        if not items:
            return
        theta = torch.from_numpy(np.stack(matrices).astype(np.float32)).to(images.device)
        grid = F.affine_grid(theta, [len(items), 1, *shape], align_corners=False)
        images[items] = F.grid_sample(images[items], grid, "bilinear", "reflection", align_corners=False)
        if masks is not None:
            moved = F.grid_sample(masks[items].unsqueeze(1).float(), grid, "nearest", "reflection", align_corners=False)
            masks[items] = moved[:, 0].to(masks.dtype)

    def _draw_matrix(self, shape: NDArray[np.int64], spacing: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Draw a map from positions in the new image to positions in the old, (D, D + 1) as `affine_grid` takes it."""
        s, axes = self._settings, len(shape)
        rotate, scale, shift = (a > 0 and self._rng.random() < s.probability for a in (s.rotate, s.scale, s.shift))
        if not (rotate or scale or shift):
            return None
        matrix = np.eye(axes)
        if rotate:
            matrix = _rotation(self._rng.uniform(-s.rotate, s.rotate, 1 if axes == 2 else 3))
        if scale:
            matrix = matrix / self._rng.uniform(1.0 - s.scale, 1.0 + s.scale)
        offset = 2.0 * self._rng.uniform(-s.shift, s.shift, axes) if shift else np.zeros(axes)
        extent = shape * spacing / 2.0  # mm; torch counts from -1 to 1, and its axes from the last to the first
        matrix = matrix * extent[None, :] / extent[:, None]
        return np.concatenate([matrix[::-1, ::-1], offset[::-1, None]], axis=1)

    def _blur(self, images: Tensor) -> None:
        items = self._draw_items(len(images))
        if not len(items):
            return
        sigma = self._uniform(0.05, max(self._settings.blur, 0.05), images, len(items))
        radius = max(1, math.ceil(_BLUR_RADII * self._settings.blur))
        blurred = images[items]
        offsets = range(-radius, radius + 1)
        weights = torch.stack([torch.exp(-0.5 * (k / sigma) ** 2) for k in offsets])
        weights = weights / weights.sum(0)
        for axis in range(2, images.ndim):
            length = blurred.shape[axis]
            padded = _pad_edges(blurred, axis, radius)
            blurred = weights[0] * padded.narrow(axis, 0, length)
            for k in range(1, len(offsets)):
                blurred.addcmul_(weights[k], padded.narrow(axis, k, length))
        images[items] = blurred

    def _gamma(self, images: Tensor) -> None:
        """Bend the contrast between the darkest and the brightest voxel; mean and standard deviation stay as they were."""
        items = self._draw_items(len(images))
        if not len(items):
            return
        old = images[items]
        inside = tuple(range(2, images.ndim))
        exponent = self._uniform(1.0 - self._settings.gamma, 1.0 + self._settings.gamma, images, len(items))
        low, high = old.amin(inside, keepdim=True), old.amax(inside, keepdim=True)
        new = ((old - low) / (high - low).clamp_min(1e-7)).pow_(exponent)
        mean, deviation = old.mean(inside, keepdim=True), old.std(inside, keepdim=True)
        new = (new - new.mean(inside, keepdim=True)) / new.std(inside, keepdim=True).clamp_min(1e-7)
        images[items] = new.mul_(deviation).add_(mean)

    def _intensity(self, images: Tensor) -> None:
        items = self._draw_items(len(images))
        if not len(items):
            return
        amount = self._settings.intensity
        old = images[items]
        deviation = old.std(tuple(range(1, images.ndim)), keepdim=True)
        scale = self._uniform(1.0 - amount, 1.0 + amount, images, len(items))
        offset = self._uniform(-amount, amount, images, len(items))
        images[items] = old.mul_(scale).add_(offset * deviation)

    def _noise(self, images: Tensor) -> None:
        items = self._draw_items(len(images))
        if not len(items):
            return
        if self._generator is None:
            self._generator = torch.Generator(images.device).manual_seed(self._noise_seed)
        size = (len(items), *images.shape[1:])
        noise = torch.randn(size, generator=self._generator, device=images.device)
        images[items] += noise.mul_(self._uniform(0.0, self._settings.noise, images, len(items)))


def _rotation(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation by one angle in the plane, or by three about the axes of space in turn."""
    matrix = np.eye(2 if len(degrees) == 1 else 3)
    planes = ((0, 1),) if len(degrees) == 1 else ((1, 2), (0, 2), (0, 1))
    for angle, (a, b) in zip(np.deg2rad(degrees), planes, strict=True):
        turn = np.eye(len(matrix))
        turn[a, a] = turn[b, b] = math.cos(angle)
        turn[a, b], turn[b, a] = -math.sin(angle), math.sin(angle)
        matrix = matrix @ turn
    return matrix


def _pad_edges(images: Tensor, axis: int, radius: int) -> Tensor:
    """Repeat the outermost voxels of one axis."""
    first, last = images.narrow(axis, 0, 1), images.narrow(axis, images.shape[axis] - 1, 1)
    repeats = [1] * images.ndim
    repeats[axis] = radius
    return torch.cat([first.repeat(repeats), images, last.repeat(repeats)], axis)
