"""Synthetic radiographs: a chest-like texture, with or without a nodule, as PNG files with a CSV index."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

GreyImage = NDArray[np.float64]

NODULE_CLASSES = ("clear", "nodule")


@dataclass(frozen=True)
class Detector:
    """Detector of a hospital, which decides how its radiographs look.

    Parameters
    ----------
    brightness : float
        Added to grey values of 0 to 1.
    contrast : float
        Factor on the grey values, about the middle.
    gamma : float
        Exponent, applied first.
    noise : float
        Standard deviation of the noise.
    """

    brightness: float
    contrast: float
    gamma: float
    noise: float


def make_detector(hospital: int) -> Detector:
    """Return the detector of a hospital, counted from 0; neighbours differ clearly."""
    variant = hospital % 4
    return Detector(
        (0.0, 0.14, -0.12, 0.05)[variant], (1.0, 0.65, 0.8, 0.5)[variant], (1.0, 0.7, 1.5, 1.2)[variant], 0.02 + 0.005 * variant
    )


def write_images(folder: Path, hospital: int, patients: int, size: int, seed: int) -> None:
    """Write ``images/*.png`` and ``index.csv`` (patient, image, label); every fourth patient has two images.

    Parameters
    ----------
    folder : Path
        Folder of the hospital's data.
    hospital : int
        Counted from 0; decides the detector.
    patients : int
        Half of them have a nodule.
    size : int
        Pixels along each side.
    seed : int
        Seed of all synthetic data.
    """
    from PIL import Image

    images = folder / "images"
    images.mkdir(parents=True)
    rows: list[tuple[str, str, str]] = []
    for patient in range(patients):
        for view in range(2 if patient % 4 == 3 else 1):
            rng = np.random.default_rng((seed, hospital, patient, view))
            label = NODULE_CLASSES[(patient + patient // 4) % 2]
            image = _expose(_draw_chest(size, label == "nodule", rng), make_detector(hospital), rng)
            name = f"{patient + 1:04d}-{view + 1}.png"
            Image.fromarray(image).save(images / name)
            rows.append((f"P{patient + 1:04d}", f"images/{name}", label))
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("patient", "image", "label"))
        writer.writerows(rows)


def _draw_chest(size: int, nodule: bool, rng: np.random.Generator) -> GreyImage:
    """Return grey values of 0 to 1: bright body, two dark lungs, ribs, vessels and, if requested, one nodule."""
    y, x = np.mgrid[0:size, 0:size] / size
    image = 0.62 + 0.05 * _blurred_noise(size, size / 6, rng)
    centres = [(0.29 + rng.uniform(-0.03, 0.03), 0.5), (0.71 + rng.uniform(-0.03, 0.03), 0.5)]
    for cx, cy in centres:
        radius = np.hypot((x - cx) / rng.uniform(0.15, 0.18), (y - cy) / rng.uniform(0.33, 0.38))
        image -= 0.38 / (1 + np.exp(14 * (radius - 1)))
    phase = rng.uniform(0, 2 * np.pi)
    ribs = np.sin(2 * np.pi * 6.5 * (y + 0.5 * (x - 0.5) ** 2) + phase)
    image += 0.04 * np.clip(ribs, 0, None) + 0.035 * _blurred_noise(size, size / 50, rng)
    if nodule:
        cx, cy = centres[rng.integers(2)]
        radius_from_centre, angle = rng.uniform(0, 0.09), rng.uniform(0, 2 * np.pi)
        distance = np.hypot(x - cx - radius_from_centre * np.cos(angle), y - cy - 2 * radius_from_centre * np.sin(angle))
        image += rng.uniform(0.24, 0.36) / (1 + np.exp((distance - rng.uniform(0.045, 0.07)) * 120))
    return np.asarray(image, dtype=np.float64)


def _blurred_noise(size: int, sigma: float, rng: np.random.Generator) -> GreyImage:
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(rng.normal(size=(size, size)), sigma)
    return np.asarray(field / field.std(), dtype=np.float64)


def _expose(image: GreyImage, detector: Detector, rng: np.random.Generator) -> NDArray[np.uint8]:
    corrected = np.clip(image, 0, 1) ** detector.gamma
    exposed = (
        0.5 + detector.contrast * (corrected - 0.5) + detector.brightness + rng.normal(scale=detector.noise, size=image.shape)
    )
    return np.rint(255 * np.clip(exposed, 0, 1)).astype(np.uint8)
