"""Slices of images with truth and prediction, for the site's own folder: examples from best to worst, and the worst cases."""

from __future__ import annotations

import heapq
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medfl.system.files import make_private_folder, write_file

MAX_WORST = 12  # cases of one test whose errors are drawn


@dataclass(frozen=True, eq=False)
class Preview:
    """One slice with truth and prediction, and nothing that says whose it is.

    Parameters
    ----------
    image : ndarray of float32
        (X, Y), 0 to 1.
    truth, prediction : ndarray of uint8
        (X, Y), label maps; all zero in a classification.
    dice : float
        Mean Dice of the foreground classes over the whole image; in a classification the probability of the true class.
    """

    image: NDArray[np.float32]
    truth: NDArray[np.uint8]
    prediction: NDArray[np.uint8]
    dice: float


class WorstSlices:
    """Slices of the cases with the lowest scores, of which only these are drawn and held in memory.

    Parameters
    ----------
    limit : int
        Number of cases; 0 keeps none.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: list[tuple[float, str, Preview]] = []  # a heap, the best of the kept first

    def offer(self, case: str, score: float, draw: Callable[[], Preview]) -> None:
        """Keep the slice of a case, which `draw` makes, if it is among the worst so far."""
        if not self._limit or (len(self._kept) == self._limit and (-score, case) <= self._kept[0][:2]):
            return
        push = heapq.heappush if len(self._kept) < self._limit else heapq.heapreplace
        push(self._kept, (-score, case, draw()))

    def by_case(self) -> dict[str, Preview]:
        """Return the slices by the pseudonym of their case."""
        return {case: preview for _, case, preview in self._kept}


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
    return _draw_slice(image, truth, prediction, dice, truth if truth.any() else prediction)


def worst_slice(image: NDArray[np.generic], truth: NDArray[np.uint8], prediction: NDArray[np.uint8], dice: float) -> Preview:
    """Return the axial slice in which most voxels are wrong; parameters as in `best_slice`."""
    wrong = truth != prediction
    return _draw_slice(image, truth, prediction, dice, wrong if wrong.any() else truth)


def image_slice(image: NDArray[np.generic], score: float) -> Preview:
    """Return the middle axial slice of an image (X, Y[, Z]) without masks."""
    empty = np.zeros(image.shape, dtype=np.uint8)
    return _draw_slice(image, empty, empty, score, empty)


def _draw_slice(
    image: NDArray[np.generic],
    truth: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    dice: float,
    shown: NDArray[np.uint8] | NDArray[np.bool_],
) -> Preview:
    if truth.ndim == 3:
        area = np.count_nonzero(shown, axis=(0, 1))
        z = int(area.argmax()) if area.any() else truth.shape[2] // 2
        image, truth, prediction = image[..., z], truth[..., z], prediction[..., z]
    grey = np.asarray(image, dtype=np.float32)
    low, high = np.percentile(grey, (0.5, 99.5))
    scaled = np.clip((grey - low) / max(float(high - low), 1e-6), 0.0, 1.0).astype(np.float32)
    return Preview(scaled, np.array(truth), np.array(prediction), float(dice))


def choose_previews(previews: Sequence[Preview], count: int) -> list[Preview]:
    """Return examples from the best to the worst in even steps; three are the best, the median and the worst."""
    ranked = sorted(previews, key=lambda p: -p.dice)
    count = min(count, len(ranked))
    ranks = np.linspace(0, len(ranked) - 1, count).round().astype(int) if count > 1 else [0] * count
    return [ranked[int(k)] for k in ranks]


def write_previews(previews: Sequence[Preview], folder: Path) -> None:
    """Write ``preview-1.npz``, ... with mode 0600, without a name of a patient or case; those of an earlier test go."""
    write_pictures({f"preview-{k}": each for k, each in enumerate(previews, start=1)}, folder)


def write_pictures(pictures: Mapping[str, Preview], folder: Path) -> None:
    """Write slices as ``<name>.npz`` with mode 0600; those of an earlier test go."""
    make_private_folder(folder)
    for old in folder.glob("*.npz"):
        old.unlink()
    for name, p in pictures.items():
        content = io.BytesIO()
        np.savez_compressed(content, image=p.image, truth=p.truth, prediction=p.prediction, dice=np.float64(p.dice))
        write_file(folder / f"{name}.npz", content.getvalue(), private=True)
