"""Correction of the bias field that the receive coil adds to an MR image (N4, Tustison et al. 2010)."""

from __future__ import annotations

import importlib.util

import numpy as np
import torch
from numpy.typing import NDArray

from medfl.errors import DataError

_SHRINK_FACTOR = 4  # 2.0 s for 128^3 voxels, 15.6 s at 2, for a field that is smooth anyway
_MIN_SHRUNK_SIDE = 16  # voxels: a shorter side is not shrunk, as too few voxels would be left for the splines
_OTSU_BINS = 200  # of Otsu's threshold between air and tissue


def require_bias_correction() -> None:
    """Raise an error early when the library for bias field correction is not installed.

    Raises
    ------
    DataError
        ``SITE-EXTRA``.
    """
    if importlib.util.find_spec("SimpleITK") is None:
        what = "the study corrects the bias field of MR images with SimpleITK, which is not installed."
        raise DataError("SITE-EXTRA", what, "Install it here: pip install SimpleITK.")


def correct_bias(image: torch.Tensor) -> None:
    """Divide each channel by its bias field, estimated by SimpleITK's N4 on a grid 4 times as coarse.

    Parameters
    ----------
    image : Tensor
        (C, X, Y[, Z]), float32; changed in place. A channel without a voxel above 0 stays as it is.

    Raises
    ------
    DataError
        ``SITE-EXTRA`` when SimpleITK is missing, ``IMG-BIAS`` when it cannot estimate the field.
    """
    require_bias_correction()
    for channel in image:
        values = channel.numpy()
        if (values > 0).any() and values.min() < values.max():
            channel.div_(torch.from_numpy(_estimate_field(values)))


def _estimate_field(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the factor by which each voxel is too bright."""
    import SimpleITK as sitk

    try:
        whole = sitk.GetImageFromArray(values)
        shrink = [_SHRINK_FACTOR if side >= _MIN_SHRUNK_SIDE else 1 for side in reversed(values.shape)]
        small = sitk.Shrink(whole, shrink)
        tissue = sitk.And(sitk.OtsuThreshold(small, 0, 1, _OTSU_BINS), sitk.Cast(small > 0, sitk.sitkUInt8))
        corrector = sitk.N4BiasFieldCorrectionImageFilter()
        corrector.SetNumberOfWorkUnits(1)  # its sums depend on the number of threads
        corrector.Execute(small, tissue)
        logarithm = corrector.GetLogBiasFieldAsImage(whole)
    except RuntimeError:  # the error's text names files and lines of the library
        raise DataError("IMG-BIAS", "the bias field could not be estimated.", "Look at the image: is it an MR image?") from None
    return np.asarray(np.exp(sitk.GetArrayFromImage(logarithm)), dtype=np.float32)
