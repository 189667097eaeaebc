"""The deterministic part between a hospital's file and the network: orientation, crop, intensity, spacing, size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms import (
    CropForegroundd,
    NormalizeIntensity,
    Orientationd,
    Resize,
    ResizeWithPadOrCropd,
    ScaleIntensity,
    ScaleIntensityRange,
    Spacingd,
)
from numpy.typing import NDArray

from medfl.data.volume import Volume
from medfl.study import Study
from medfl.study.sections import Preprocessing

_LABELS = (("L", "R"), ("P", "A"), ("I", "S"))

Mask = NDArray[np.uint8]
_Data = dict[str, Any]  # "image" and perhaps "label", both MetaTensor (C, X, Y[, Z]); MONAI is not typed


def orient(volume: Volume, mask: Mask | None, study: Study) -> tuple[Volume, Mask | None]:
    """Turn and flip a volume and its mask so that the axes run to the right, the front and the top (RAS).

    Nothing is interpolated. Images of a 2-D task stay as they are.

    Parameters
    ----------
    volume : Volume
        Array (C, X, Y[, Z]) and affine in mm.
    mask : array of uint8, optional
        (X, Y[, Z]) on the same grid.
    study : Study
        Only the dimension is read.

    Returns
    -------
    tuple of Volume and mask
    """
    return _unpack(_orient(_pack(volume, mask), study))


def preprocess(volume: Volume, mask: Mask | None, study: Study) -> tuple[Volume, Mask | None]:
    """Bring one case to the form in which the network sees it.

    The order is: RAS orientation (3-D), bounding box of the voxels above zero, intensity, spacing, size. The intensity is
    set before interpolation and padding, so that its statistics are those of the voxels that were measured; padding
    is therefore 0 on the normalised scale, as in nnU-Net.

    Parameters
    ----------
    volume : Volume
        Array (C, X, Y[, Z]) of finite values, and affine in mm.
    mask : array of uint8, optional
        (X, Y[, Z]) on the same grid; interpolated to the nearest voxel.
    study : Study
        Its preprocessing table and the dimension of its task.

    Returns
    -------
    tuple of Volume and mask
        The array is C-contiguous and of `study.preprocessing.dtype`; the affine is that of the new grid (2-D: identity).
    """
    settings, three = study.preprocessing, study.task.dimension == 3
    data = _orient(_pack(volume, mask), study)
    if settings.crop == "foreground":
        data = _crop(data)
    data["image"] = _with_affine(_intensity(data["image"], settings), data["image"])
    if settings.spacing:
        data = _respace(data, settings.spacing)
    if settings.size and not three:
        data = _fit(data, settings.size)
    if settings.size:
        data = ResizeWithPadOrCropd(tuple(data), spatial_size=settings.size)(data)
    done, done_mask = _unpack(data)
    kind = np.dtype(settings.dtype)
    limits = np.finfo(kind)
    array = np.clip(done.array, limits.min, limits.max).astype(kind)
    return Volume(array, done.affine if three else np.eye(4)), done_mask


def _pack(volume: Volume, mask: Mask | None) -> _Data:
    affine = torch.from_numpy(np.array(volume.affine, dtype=np.float64))
    # copies: arrays of readers may be read-only or have negative strides, which torch does not take
    data: _Data = {"image": MetaTensor(torch.from_numpy(np.array(volume.array, dtype=np.float32, order="C")), affine=affine)}
    if mask is not None:
        data["label"] = MetaTensor(torch.from_numpy(np.array(mask[None], dtype=np.uint8, order="C")), affine=affine.clone())
    return data


def _unpack(data: _Data) -> tuple[Volume, Mask | None]:
    image = data["image"]
    volume = Volume(np.ascontiguousarray(image.as_tensor().numpy()), np.array(image.affine.numpy(), dtype=np.float64))
    if "label" not in data:
        return volume, None
    # MONAI interpolates in float, and answers in float
    label = np.rint(data["label"].as_tensor().numpy()[0]).astype(np.uint8)
    return volume, np.ascontiguousarray(label)


def _orient(data: _Data, study: Study) -> _Data:
    if study.task.dimension == 2:
        return data
    return dict(Orientationd(tuple(data), axcodes="RAS", labels=_LABELS)(data))


def _with_affine(values: torch.Tensor, like: Any) -> Any:
    return MetaTensor(values, affine=like.affine)


def _crop(data: _Data) -> _Data:
    if not bool((data["image"] > 0).any()):
        return data  # the box of nothing would be an image of no voxels
    crop = CropForegroundd(
        tuple(data), source_key="image", allow_smaller=True, start_coord_key=None, end_coord_key=None, select_fn=_above_zero
    )
    return dict(crop(data))


def _above_zero(image: Any) -> Any:
    return image > 0


def _respace(data: _Data, spacing: tuple[float, ...]) -> _Data:
    modes = {"image": "bilinear", "label": "nearest"}
    # float32 halves the memory; sampling positions stay exact to 1e-4 voxels at 1000 voxels a side
    move = Spacingd(
        tuple(data), pixdim=spacing, mode=tuple(modes[key] for key in data), padding_mode="border", dtype=np.float32
    )
    return dict(move(data))


def _fit(data: _Data, size: tuple[int, ...]) -> _Data:
    shape = data["image"].shape[1:]
    scale = min(wanted / have for wanted, have in zip(size, shape, strict=True))
    target = [min(wanted, max(1, round(have * scale))) for wanted, have in zip(size, shape, strict=True)]
    if list(shape) == target:
        return data
    image_mode = "area" if scale < 1 else "bilinear"  # area averages, so that shrinking does not alias
    modes = {"image": image_mode, "label": "nearest-exact"}
    return {key: Resize(target, mode=modes[key])(value) for key, value in data.items()}


def _intensity(image: Any, settings: Preprocessing) -> torch.Tensor:
    values, kind = image.as_tensor(), settings.intensity
    with _one_thread():
        if kind == "window":
            values = ScaleIntensityRange(*settings.window, 0.0, 1.0, clip=True)(values)
        elif kind == "unit":
            values = ScaleIntensity(0.0, 1.0, channel_wise=True)(values)
        elif kind == "percentile":
            values = torch.stack([_percentile(channel, settings) for channel in values])
        else:
            nonzero = kind == "zscore-nonzero"
            if settings.clip:
                values = torch.stack([_clip(channel, settings, nonzero) for channel in values])
            values = NormalizeIntensity(nonzero=nonzero, channel_wise=True)(values)
    return torch.as_tensor(values.as_tensor() if isinstance(values, MetaTensor) else values)


def _percentile(channel: torch.Tensor, settings: Preprocessing) -> torch.Tensor:
    low, high = _quantiles(channel.numpy(), settings)
    if high > low:
        return _plain(ScaleIntensityRange(low, high, 0.0, 1.0, clip=settings.clip)(channel))
    return _plain(ScaleIntensity(0.0, 1.0)(channel))  # nearly or quite constant: its whole range, or zeros


def _clip(channel: torch.Tensor, settings: Preprocessing, nonzero: bool) -> torch.Tensor:
    counted = channel[channel != 0] if nonzero else channel
    if not counted.numel():
        return channel
    clipped = channel.clamp(*_quantiles(counted.numpy(), settings))
    return torch.where(channel != 0, clipped, channel) if nonzero else clipped


def _quantiles(values: NDArray[np.float32], settings: Preprocessing) -> tuple[float, float]:
    low, high = np.percentile(values, settings.percentiles)
    return float(low), float(high)


def _plain(values: Any) -> torch.Tensor:
    return values.as_tensor() if isinstance(values, MetaTensor) else torch.as_tensor(values)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep sums over an image the same to the bit, whatever the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
