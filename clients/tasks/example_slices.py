"""Example slices of segmented images, for the site's own folder."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medfl.system.files import write_file


@dataclass(frozen=True, eq=False)
class Preview:
    """One slice with truth and prediction, and nothing that says whose it is.

    Parameters
    ----------
    image : ndarray of float32
        (X, Y), 0 to 1.
    truth, prediction : ndarray of uint8
        (X, Y), label maps.
    dice : float
        Mean Dice of the foreground classes over the whole image.
    """

    image: NDArray[np.float32]
    truth: NDArray[np.uint8]
    prediction: NDArray[np.uint8]
    dice: float


def best_slice(image: NDArray[np.generic], truth: NDArray[np.uint8], prediction: NDArray[np.uint8], dice: float) -> Preview:
    """Return the axial slice with the most foreground in the truth or, if that has none, in the prediction.

    Parameters
    ----------
    image : ndarray
        (X, Y[, Z]), one channel on the grid of the masks.
    truth, prediction : ndarray of uint8
        (X, Y[, Z]).
    dice : float
        Score of the image.
    """
    if truth.ndim == 3:
        area = np.count_nonzero(truth if truth.any() else prediction, axis=(0, 1))
        z = int(area.argmax()) if area.any() else truth.shape[2] // 2
        image, truth, prediction = image[..., z], truth[..., z], prediction[..., z]
    grey = np.asarray(image, dtype=np.float32)
    low, high = np.percentile(grey, (0.5, 99.5))
    shown = np.clip((grey - low) / max(float(high - low), 1e-6), 0.0, 1.0).astype(np.float32)
    return Preview(shown, np.array(truth), np.array(prediction), float(dice))


def choose_previews(previews: Sequence[Preview], count: int) -> list[Preview]:
    """Return examples from the best to the worst in even steps; three are the best, the median and the worst."""
    ranked = sorted(previews, key=lambda p: -p.dice)
    count = min(count, len(ranked))
    ranks = np.linspace(0, len(ranked) - 1, count).round().astype(int) if count > 1 else [0] * count
    return [ranked[int(k)] for k in ranks]


def write_previews(previews: Sequence[Preview], folder: Path) -> None:
    """Write ``preview-1.npz``, ... with mode 0600, without a name of a patient or case; those of an earlier test go."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("preview-*.npz"):
        old.unlink()
    for k, p in enumerate(previews, start=1):
        content = io.BytesIO()
        np.savez_compressed(content, image=p.image, truth=p.truth, prediction=p.prediction, dice=np.float64(p.dice))
        write_file(folder / f"preview-{k}.npz", content.getvalue(), private=True)
