"""Check that brightness does not repeat every second, third or fourth slice, as that of woven acquisitions does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medfl.errors import DataError

FloatArray = NDArray[np.float64]

_MIN_SLICES = 6
# by how many slices brightness may repeat: its frequencies in cycles per slice, the slices without which they do not show
_PERIODS: tuple[tuple[tuple[float, ...], int], ...] = (((1 / 2,), _MIN_SLICES), ((1 / 3,), 14), ((1 / 4, 1 / 2), 16))
_BLOCK, _MIN_BLOCKS = 8, 32  # pixels along the side of a block, fewer where there would be too few blocks
_FREQUENCIES = 32
_LOBE = 1.8  # half the width of a line, in cycles per stack
_MAX_POWER = (1.7, 1.4)  # of a line, by that of other frequencies: without and with an attribute that alternates likewise
# the smallest step between slices that is more than a difference of detector rows or packages
_MIN_STEP_HU = (15.0, 3.0)
_MIN_STEP = 0.1  # of the grey value
_ROUNDING = 1e-6


def check_alternation(grey: NDArray[np.float32], *, is_ct: bool, is_told: bool = False) -> None:
    """Check that no line stands out of the spectrum along the slices, after all headers were of one acquisition.

    Anatomy and noise have all frequencies. What repeats every second slice has one.

    Parameters
    ----------
    grey : ndarray
        (slices, rows, columns), in order of position.
    is_ct : bool
        Whether the values are Hounsfield units. Others are compared by ratio.
    is_told : bool
        Whether an attribute alternates likewise, which makes a smaller difference suspicious.

    Raises
    ------
    DataError
        ``DCM-MULTIVOLUME``.
    """
    if len(grey) < _MIN_SLICES:
        return
    means = _block_means(grey)
    for lines, min_slices in _PERIODS:
        if len(grey) < min_slices:
            continue
        power, others = _line_power(means, lines)
        total = float(power.sum())
        if not total > _MAX_POWER[is_told] * float(others.sum()) + _ROUNDING:
            continue
        step = 2 * np.sqrt(float((power**2).sum()) / total)  # where it is strongest
        level = float((power * np.abs(means).mean(axis=0)).sum()) / total
        if step >= (_MIN_STEP_HU[is_told] if is_ct else _MIN_STEP * level):
            what = "the slices alternate in brightness as those of several acquisitions do, which no attribute tells apart."
            raise DataError("DCM-MULTIVOLUME", what, "Export each acquisition or reconstruction as a series of its own.")


def _block_means(grey: NDArray[np.float32]) -> FloatArray:
    """Return the means of blocks of pixels, (slices, blocks), in which noise is weak and edges are soft."""
    count = len(grey)
    height, width = (min(_BLOCK, max(size // _MIN_BLOCKS, 1)) for size in grey.shape[1:])
    rows, columns = grey.shape[1] // height, grey.shape[2] // width
    means = np.empty((count, rows * columns))
    for k, plane in enumerate(grey):  # one by one: a copy of the volume would be as large as the volume
        cut = plane[: rows * height, : columns * width]
        means[k] = cut.reshape(rows, height, columns, width).mean(axis=(1, 3), dtype=np.float64).ravel()
    return means


def _line_power(means: FloatArray, lines: tuple[float, ...]) -> tuple[FloatArray, FloatArray]:
    """Return the mean power of each block at some frequencies, and at the others from half of the lowest of them.

    Differences of second order keep the slow changes of anatomy from leaking into other frequencies; they are undone after.
    """
    count = len(means) - 2
    window = np.hanning(count + 2)[1:-1, np.newaxis]
    windowed = np.diff(means, 2, axis=0) * window / window.sum()
    frequencies = np.linspace(min(lines) / 2, 0.5, _FREQUENCIES)
    apart = np.abs(frequencies[:, np.newaxis] - np.array(lines)).min(axis=1)
    others = frequencies[apart >= min(_LOBE / count, min(lines) / 2) - _ROUNDING]
    return _power(windowed, np.array(lines)), _power(windowed, others)


def _power(windowed: FloatArray, frequencies: FloatArray) -> FloatArray:
    total = np.zeros(windowed.shape[1])
    for frequency in frequencies:  # one by one: all at once would take the memory of a small volume
        wave = np.exp(-2j * np.pi * frequency * np.arange(len(windowed)))
        total += np.abs(wave @ windowed) ** 2 / (2 * np.sin(np.pi * frequency)) ** 4
    return total / len(frequencies)
