"""A hospital whose images hold a payload, for a dishonest server to read.

The server is told more than a real one: it knows every image but for the payload, and which pixels hold that; and the payload
may be the same in all images, so that no question is spent on telling patients apart.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medfl.site import ensure_secret
from tests.studies import study_text

SIDE = 32
PATIENTS = 60  # of whom two fifths validate: 24
VALIDATED = 24
CLASSES = ("clear", "nodule")
OWN = range(3, 19)  # pixels that differ from patient to patient, even where the payload is shared
PAYLOAD = range(19, SIDE * SIDE)  # the others: pixel 0 tells the label, 1 and 2 are the lowest and the highest grey value
BANDS = 64  # of grey values in the upper half of the range, one for each number of a payload in segmented images

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

_STUDY = """
seed = 3
rounds = {rounds}
[task]
kind = "{kind}"
dimension = 2
modality = "XR"
classes = "{classes}"
[preprocessing]
size = "32,32"
intensity = "unit"
[splits]
validation = 0.4
test = {test}
[network]
{network}
[loss]
name = "{loss}"
[training]
batch-size = 8
local-steps = 1
"""
_CLASSIFICATION = {
    "kind": "classification",
    "classes": ",".join(CLASSES),
    "network": 'name = "vit"\npatch = 32\nhidden = 48\nlayers = 1\nheads = 1',
    "loss": "cross-entropy",
}
_SEGMENTATION = {
    "kind": "segmentation",
    "classes": "background,organ",
    "network": 'name = "unet"\nchannels = "6,2"\nstrides = "1"\nresidual-units = 0',
    "loss": "dice-ce",
}
_SITE = """
name = "hospital"
[data]
root = "data"
layout = "csv"
[resources]
device = "cpu"
[policy]
min-cases = 1
{policy}
"""


def write_study(folder: Path, *, kind: str = "classification", rounds: int = 2, test: float = 0.2) -> Path:
    """Write a study whose network medfl offers, and which computes whatever its weights say."""
    values = _CLASSIFICATION if kind == "classification" else _SEGMENTATION
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(study_text("payload", _STUDY.format(**values, rounds=rounds, test=test)))
    return folder


@dataclass(frozen=True)
class Payload:
    """Images of independent random pixels, and what is planted in them.

    Attributes
    ----------
    images : list of ndarray
        One for each patient.
    values : ndarray of int
        The payload that all share; empty where each image is a payload of its own.
    mask : ndarray of uint8, optional
        Of every image, in a segmentation.
    """

    images: Sequence[Pixels]
    values: NDArray[np.int64]
    mask: NDArray[np.uint8] | None = None

    def write(self, folder: Path, policy: str = "") -> Path:
        """Write the hospital, alternately with a clear image and with a nodule; return its ``site.toml``."""
        (folder / "data").mkdir(parents=True)
        with (folder / "data" / "index.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("patient", "image", "label"))
            for number, image in enumerate(self.images):
                Image.fromarray(image).save(folder / "data" / f"{number:04d}.png")
                label = CLASSES[number % 2]
                if self.mask is not None:
                    label = f"{number:04d}-mask.png"
                    Image.fromarray(self.mask).save(folder / "data" / label)
                writer.writerow((f"P{number:04d}", f"{number:04d}.png", label))
        ensure_secret(folder / "site.secret")
        (folder / "site.toml").write_text(_SITE.format(policy=policy))
        return folder / "site.toml"


def plant_own(seed: int) -> Payload:
    """Plant one payload in each image: all its pixels."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (PATIENTS, SIDE * SIDE), dtype=np.uint8)
    return Payload([_mark(image, number) for number, image in enumerate(pixels)], np.array([], np.int64))


def plant_shared(seed: int) -> Payload:
    """Plant the same payload in all classified images: every pixel but a few."""
    rng = np.random.default_rng(seed)
    payload = rng.integers(0, 256, SIDE * SIDE, dtype=np.uint8)
    images = np.tile(payload, (PATIENTS, 1))
    images[:, OWN] = rng.integers(0, 256, (PATIENTS, len(OWN)))
    return Payload([_mark(image, number) for number, image in enumerate(images)], payload.astype(np.int64))


def plant_in_masked(seed: int) -> Payload:
    """Plant the same numbers, 0 to 255, in all segmented images: one pixel each, in a band of grey values of its own.

    The mask covers the dark pixels, whose grey values are the same in all images, in another order.
    """
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 256, BANDS)
    pixels = np.empty(SIDE * SIDE)
    pixels[:BANDS] = grey_of(np.arange(BANDS), values)
    pixels[BANDS:] = np.linspace(0.01, 0.5, SIDE * SIDE - BANDS)
    pixels[0], pixels[-1] = 0.0, 1.0
    mask = np.zeros(SIDE * SIDE, np.uint8)
    mask[BANDS:-1] = 1
    images = []
    for _ in range(PATIENTS):
        image = pixels.copy()
        image[BANDS:-1] = rng.permutation(image[BANDS:-1])
        images.append((image * 65535).round().astype(np.uint16).reshape(SIDE, SIDE))
    return Payload(images, values, mask.reshape(SIDE, SIDE))


def grey_of(band: NDArray[np.int64], value: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the grey value, 0 to 1, by which a pixel tells a number, 0 to 255, in a band of its own."""
    grey: NDArray[np.float64] = 0.5 + (band + value / 512) / (4 * BANDS)
    return grey


def _mark(pixels: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    pixels[:3] = (255 * (number % 2), 0, 255)
    return pixels.reshape(SIDE, SIDE)
