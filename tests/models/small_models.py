"""Small models that were trained in a second or two, as the folder of a run would hold them, and images for them."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from medfl.clients.networks.arrays import get_arrays
from medfl.clients.networks.network_builders import build_network
from medfl.data.predictions import ModelOrigin
from medfl.models.bundle import BundleFacts
from medfl.models.trained_model import TrainedModel
from medfl.study import Study

FACTS = BundleFacts("A model of a test.", "# Model card\n", "CC0-1.0\n", {"arm": "federated", "site": "", "round": 1}, {})
_STEPS = 30


def make_model(study: Study, *, trained: bool = True) -> TrainedModel:
    """Return a model that finds what is bright: the organ of the images below, or whether there is one."""
    net = build_network(study)
    if trained:
        optimizer = torch.optim.Adam(net.parameters(), 0.01)
        for step in range(_STEPS):
            images, labels = _draw_batch(study, np.random.default_rng(step))
            loss = torch.nn.functional.cross_entropy(net(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return TrainedModel(study, get_arrays(net), ModelOrigin(study.name, "test", "0" * 64))


def organ_image(shape: tuple[int, ...], rng: np.random.Generator, *, empty: bool = False) -> NDArray[np.float32]:
    """Return noise with a bright box in it, unless it is to be empty."""
    image = rng.normal(100, 10, shape).astype(np.float32)
    if not empty:
        corner = [int(rng.integers(side // 4, side // 2)) for side in shape]
        image[tuple(slice(c, c + side // 3) for c, side in zip(corner, shape, strict=True))] += 80
    return image


def write_volumes(folder: Path) -> list[Path]:
    """Write a volume in RAS, an oblique one, an anisotropic one with other axes, and one larger than the patch."""
    rng, folder_files = np.random.default_rng(7), []
    angle = np.deg2rad(20)
    oblique = np.eye(4)
    oblique[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    flipped = np.array([[0, 0, -1.0, 9], [-1.0, 0, 0, 4], [0, 3.0, 0, 2], [0, 0, 0, 1]])
    for name, shape, affine in (
        ("plain", (14, 15, 16), np.eye(4)),
        ("oblique", (17, 16, 15), oblique),
        ("anisotropic", (18, 8, 20), flipped),
        ("large", (30, 34, 22), np.diag([0.5, 0.5, 0.5, 1])),
    ):
        image = nibabel.Nifti1Image(organ_image(shape, rng), affine)
        image.set_sform(affine, 1)
        image.set_qform(affine, 1)
        folder_files.append(folder / f"{name}.nii.gz")
        nibabel.save(image, folder_files[-1])
    return folder_files


def write_pictures(folder: Path) -> list[Path]:
    """Write pictures: large and small, tall and wide, in grey and in colour, with and without an organ."""
    rng, files = np.random.default_rng(8), []
    for name, size in (("wide", (60, 40)), ("tall", (33, 50)), ("small", (20, 16))):
        for kind in ("organ", "empty"):
            grey = organ_image(size, rng, empty=kind == "empty").clip(0, 255).astype(np.uint8)
            pixels = np.stack([grey, grey // 2, grey], axis=-1) if name == "tall" else grey
            files.append(folder / f"{name}-{kind}.png")
            Image.fromarray(pixels).save(files[-1])
    return files


def _draw_batch(study: Study, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    size = study.training.patch or study.preprocessing.size
    kinds = [False, True, False, False]
    drawn = np.stack([organ_image(size, rng, empty=empty) for empty in kinds])
    truth = drawn > 145
    images = torch.from_numpy((drawn - drawn.mean()) / drawn.std())[:, None]
    if study.task.kind == "segmentation":
        return images, torch.from_numpy(truth.astype(np.int64))
    return images, torch.tensor([0 if empty else 1 for empty in kinds])
