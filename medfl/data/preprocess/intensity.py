"""Grey values on one scale for all hospitals, by MONAI's formulas but in place, without the copies of its transforms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from monai.transforms import HistogramNormalize
from numpy.typing import NDArray

from medfl.study.sections import Preprocessing


@contextmanager
def single_threaded() -> Iterator[None]:
    """Run torch with one thread, so that sums over an image are the same to the bit on every machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def normalize(image: torch.Tensor, settings: Preprocessing) -> None:
    """Bring grey values to the scale that a study sets.

    As MONAI's `ScaleIntensityRange` ("window", "percentile"), `ScaleIntensity` ("unit") and `NormalizeIntensity`
    ("zscore", "zscore-nonzero"), and as nnU-Net's ``CTNormalization`` ("standardize").

    Parameters
    ----------
    image : Tensor
        (C, X, Y[, Z]), float32; changed in place.
    settings : Preprocessing
        Preprocessing table of the study.
    """
    for channel in image:
        match settings.intensity:
            case "window":
                low, high = settings.window
                channel.clamp_(low, high).sub_(low).div_(high - low)
            case "standardize":
                channel.clamp_(*settings.window).sub_(settings.mean).div_(settings.std)
            case "unit":
                _scale_to_unit(channel)
            case "percentile":
                _scale_between_percentiles(channel, settings)
            case _:
                _normalize_zscore(channel, settings)


def equalize(image: torch.Tensor, settings: Preprocessing) -> None:
    """Flatten the histogram of each channel between its percentiles to 0..1, with MONAI's `HistogramNormalize`.

    Outside the percentiles are burned-in marks and collimator edges, which would take bins away from the anatomy.

    Parameters
    ----------
    image : Tensor
        (C, X, Y[, Z]), float32; changed in place.
    settings : Preprocessing
        Only its percentiles are used.
    """
    flatten = HistogramNormalize(num_bins=256, min=0, max=1)
    for channel in image:
        low, high = _compute_percentiles(channel.numpy(), settings)
        if high > low:
            channel.copy_(torch.as_tensor(np.asarray(flatten(channel.clamp_(low, high).numpy()))))


def _scale_to_unit(channel: torch.Tensor) -> None:
    low, high = float(channel.min()), float(channel.max())
    if high > low:
        channel.sub_(low).div_(high - low)
    else:
        channel.zero_()


def _scale_between_percentiles(channel: torch.Tensor, settings: Preprocessing) -> None:
    low, high = _compute_percentiles(channel.numpy(), settings)
    if not high > low:
        _scale_to_unit(channel)  # (nearly) constant: its whole range, or zeros
        return
    channel.sub_(low).div_(high - low)
    if settings.clip:
        channel.clamp_(0.0, 1.0)


def _normalize_zscore(channel: torch.Tensor, settings: Preprocessing) -> None:
    zeros = channel == 0 if settings.intensity == "zscore-nonzero" else None
    if settings.clip:
        _clip_to_percentiles(channel, zeros, settings)
    # numpy selects without an index of 8 bytes per voxel, torch sums without a copy
    selected = channel if zeros is None else torch.from_numpy(channel.numpy()[~zeros.numpy()])
    if not selected.numel():
        return
    mean, std = selected.mean(), selected.std(unbiased=False)
    del selected
    channel.sub_(mean)
    if std > 0:
        channel.div_(std)
    if zeros is not None:
        channel.masked_fill_(zeros, 0.0)


def _clip_to_percentiles(channel: torch.Tensor, zeros: torch.Tensor | None, settings: Preprocessing) -> None:
    values = channel.numpy() if zeros is None else channel.numpy()[~zeros.numpy()]
    if values.size:
        channel.clamp_(*_compute_percentiles(values, settings, overwrite=zeros is not None))
        if zeros is not None:
            channel.masked_fill_(zeros, 0.0)


def _compute_percentiles(
    values: NDArray[np.float32], settings: Preprocessing, *, overwrite: bool = False
) -> tuple[float, float]:
    """Return the percentiles; `overwrite` spares a copy of values that are not used afterwards."""
    low, high = np.percentile(values, settings.percentiles, overwrite_input=overwrite)
    return float(low), float(high)
