"""Simulated scanners: the images of each hospital of a simulation as if a scanner of its own had made them.

A hospital draws its scanner once, from the seed of the splits and its name: a smooth shading, a loss of resolution, a contrast,
a gain and a level of noise, each up to the strength that is stated. Noise differs from image to image. The same data, seed and
settings give the same images; they are changed as they are read, before any preprocessing, as a scanner would have.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import lru_cache

import numpy as np
from monai.transforms import AdjustContrast, RandBiasField, RandGaussianNoise, RandSimulateLowResolution, ScaleIntensity
from numpy.typing import NDArray

from medfl.data.preprocess.intensity import single_threaded
from medfl.data.volume import Volume
from medfl.site import Site
from medfl.study import Study

Image = NDArray[np.float32]
_CENTRED = ("gain", "contrast")  # a factor or exponent around 1; the others are levels from 0


def with_own_scanner(volume: Volume, site: Site, study: Study, image: str) -> Volume:
    """Return an image as the simulated scanner of its hospital would have made it; other hospitals' as they are.

    Parameters
    ----------
    volume : Volume
        As it was read, (C, X, Y[, Z]).
    site : Site
        The hospital.
    study : Study
        Gives the seed.
    image : str
        What tells the image from others of the hospital and is the same on every machine: its noise is drawn from it.
    """
    simulated = site.simulated
    if simulated is None or not simulated.own_scanner:
        return volume
    seed = f"{study.seed_of_splits}\x1f{site.name}"
    levels = _draw_levels(tuple(simulated.simulation.scanner_strengths.items()), seed)
    with single_threaded():
        array = np.stack(
            [_shift(channel[None], levels, seed, f"{seed}\x1f{image}\x1f{k}")[0] for k, channel in enumerate(volume.array)]
        )
    return replace(volume, array=array)


@lru_cache(maxsize=64)
def _draw_levels(strengths: tuple[tuple[str, float], ...], seed: str) -> dict[str, float]:
    """Return the factor, the exponent and the levels of one hospital's scanner, by the names of their strengths."""
    levels = {}
    for name, strength in strengths:
        uniform = _generator(f"{seed}\x1f{name}").uniform()  # of its own, so that one more strength does not move the others
        levels[name] = 1 + strength * (2 * uniform - 1) if name in _CENTRED else strength * uniform
    return levels


def _shift(channel: Image, levels: dict[str, float], scanner_seed: str, image_seed: str) -> Image:
    """Return one channel, (1, X, Y[, Z]), changed in the order in which a scanner would: shading, sampling, display, noise."""
    values = channel.astype(np.float32)
    if "bias" in levels:
        values = values * _draw_shading(values.shape, levels["bias"], scanner_seed)
    if "resolution" in levels:
        kept = 1 - levels["resolution"]
        mode = "trilinear" if values.ndim == 4 else "bilinear"
        values = np.asarray(RandSimulateLowResolution(1.0, upsample_mode=mode, zoom_range=(kept, kept))(values))
    if "contrast" in levels:
        values = np.asarray(AdjustContrast(levels["contrast"])(values))
    if "gain" in levels:
        values = np.asarray(ScaleIntensity(minv=None, maxv=None, factor=levels["gain"] - 1)(values))
    if "noise" in levels:
        noise = RandGaussianNoise(1.0, std=levels["noise"] * float(values.std()), sample_std=False)
        values = np.asarray(noise.set_random_state(state=_generator(image_seed))(values))
    return values.astype(np.float32)


def _draw_shading(shape: tuple[int, ...], level: float, seed: str) -> Image:
    """Return smooth factors whose logarithms have the mean 0, with the one farthest from it at the level."""
    field = RandBiasField(prob=1.0, degree=3, coeff_range=(-1.0, 1.0)).set_random_state(state=_generator(f"{seed}\x1fshading"))
    logarithm = np.log(np.asarray(field(np.ones(shape, np.float32)), dtype=np.float64))
    logarithm -= logarithm.mean()
    largest = np.abs(logarithm).max()
    return np.exp(logarithm * (np.log1p(level) / largest if largest else 0.0)).astype(np.float32)


def _generator(text: str) -> np.random.RandomState:
    return np.random.RandomState(int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]))
