"""Crafted models: networks that medfl offers, whose weights make a score depend on chosen pixels and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from medfl.clients.initial_model import build_initial_model
from medfl.clients.networks.arrays import load_arrays
from medfl.clients.networks.network_builders import build_network
from medfl.messages import records
from medfl.metrics.curves import histogram
from medfl.study import Study
from tests.privacy.payload_hospital import BANDS, PAYLOAD, SIDE, Payload, grey_of

_ANCHOR = 100.0  # of two hidden numbers: so large that a layer norm hardly sees the others
_STEEP = 1000.0  # slope at which a GELU is a ramp
_GAIN = 100.0  # of the last layer


@dataclass(frozen=True)
class Unit:
    """One term of a crafted network: ``factor * relu(weights @ pixels + bias)``, with pixels from 0 to 1."""

    weights: Mapping[int, float] | NDArray[np.float64]
    bias: float
    factor: float

    @property
    def image(self) -> NDArray[np.float64]:
        """The weights as an image."""
        flat = np.zeros(SIDE * SIDE)
        if isinstance(self.weights, Mapping):
            flat[list(self.weights)] = list(self.weights.values())
        else:
            flat[:] = self.weights
        return flat.reshape(SIDE, SIDE).T  # medfl holds images as (x, y)


def craft(study: Study, units: Sequence[Unit], bias: float = 0.0) -> ArrayRecord:
    """Return a model whose first logit is 0, and whose second is ``bias`` plus the sum of the units.

    One patch is the whole image. Two hidden numbers are large and opposite, so that the layer norms divide by what is known;
    two carry the sum, and the last keeps the mean at zero. The class token attends to itself and to the image alike.
    """
    arrays = {name: np.zeros_like(value) for name, value in records.from_array_record(build_initial_model(study)).items()}
    hidden = arrays["cls_token"].shape[-1]
    if len(units) > hidden - 5:
        raise ValueError("a unit needs a hidden number of its own")
    scale = math.sqrt(2 * _ANCHOR**2 / hidden)  # what a layer norm divides by
    embed, shift = arrays["patch_embedding.patch_embeddings.weight"], arrays["patch_embedding.patch_embeddings.bias"]
    arrays["cls_token"][0, 0, :2] = shift[:2] = _ANCHOR, -_ANCHOR
    first, second = arrays["blocks.0.mlp.linear1.weight"], arrays["blocks.0.mlp.linear2.weight"]
    for k, unit in enumerate(units, start=4):
        size = max(float(np.abs(unit.image).sum()), abs(unit.bias), 1.0) * (1 - 2 * (k % 2)) * 4  # half of them negative
        embed[k, 0], shift[k] = unit.image / size, unit.bias / size
        first[k, k] = _STEEP * size * scale
        second[2:4, k] = unit.factor / _STEEP / _GAIN, -unit.factor / _STEEP / _GAIN
    embed[-1, 0], shift[-1] = -embed[4:-1, 0].sum(axis=0), -shift[4:-1].sum()
    for name in ("blocks.0.norm1", "blocks.0.norm2", "norm"):
        arrays[f"{name}.weight"][:] = 1.0
    arrays["blocks.0.attn.qkv.weight"][2 * hidden :] = np.diag([0.0] * 4 + [2.0 * scale] * (hidden - 4))
    arrays["blocks.0.attn.out_proj.weight"][:] = np.eye(hidden)
    arrays["classification_head.weight"][1, 2:4] = _GAIN * scale / 2, -_GAIN * scale / 2
    arrays["classification_head.bias"][1] = bias
    return records.to_array_record(arrays)


_SEGMENTS = 21  # of a curve in a network
_CURVE = np.interp(np.linspace(0, 255, _SEGMENTS + 1).round(), np.arange(256), 0.5 * np.sinh(np.linspace(-6.0, 4.0, 256)))


def two_numbers(study: Study, clear: int, nodule: int) -> ArrayRecord:
    """Return a model whose logit is a steep function of one pixel for patients of the one class, of another for the others."""
    knots = np.linspace(0, 255, _SEGMENTS + 1).round() / 255
    slopes = np.diff(_CURVE) / np.diff(knots)
    units = []
    for pixel, gate, shift in ((clear, -2.0, 0.0), (nodule, 2.0, -2.0)):
        for knot, change in zip(knots, np.diff(slopes, prepend=0.0), strict=False):
            units.append(Unit({pixel: 1.0, 0: gate}, shift - float(knot), float(change)))
    return craft(study, units, float(_CURVE[0]))


def list_outcomes(study: Study) -> NDArray[np.int64]:
    """Return by class and grey value of its pixel, 0 to 255, the bin in which `two_numbers` puts a patient, shape (2, 256)."""
    images = np.zeros((2, 256, SIDE * SIDE), np.float32)
    images[1, :, 0] = 1.0
    images[:, :, PAYLOAD[0]] = images[:, :, PAYLOAD[1]] = np.arange(256) / 255
    scores = _run(study, two_numbers(study, PAYLOAD[0], PAYLOAD[1]), images)[:, 1]
    return np.array([np.argmax(histogram(scores[k : k + 1])) for k in range(512)]).reshape(2, 256)


_WIDE = (-1.0, 0.87, 2.6, 4.4)  # logits: at the lowest of a clear one, its range; more for a nodule, its range


def four_numbers(study: Study, clear: Sequence[int], nodule: Sequence[int]) -> ArrayRecord:
    """Return a model whose logit is linear in two pixels for patients of the one class, in two others for the rest."""
    low, clear_range, more, nodule_range = _WIDE
    first, second = ({pair[0]: 256 * 255 / 65535, pair[1]: 255 / 65535} for pair in (clear, nodule))
    units = [
        Unit(first | {0: -2.0}, 0.0, clear_range),
        Unit(second | {0: 2.0}, -2.0, nodule_range),
        Unit({0: 1.0}, 0.0, more),
    ]
    return craft(study, units, low)


def list_confidences(study: Study) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return numbers, 0 to 65535, and by class the confidence that `four_numbers` gives for each, shape (2, N)."""
    numbers = np.append(np.arange(0, 65536, 64), 65535)
    images = np.zeros((2, len(numbers), SIDE * SIDE), np.float32)
    images[1, :, 0] = 1.0
    images[:, :, PAYLOAD[0]] = images[:, :, PAYLOAD[2]] = numbers // 256 / 255
    images[:, :, PAYLOAD[1]] = images[:, :, PAYLOAD[3]] = numbers % 256 / 255
    scores = _run(study, four_numbers(study, PAYLOAD[:2], PAYLOAD[2:4]), images).max(axis=1)
    return numbers.astype(np.float64), scores.reshape(2, -1)


def one_number(study: Study, payload: Payload, band: int) -> ArrayRecord:
    """Return a model that segments a share of the organ: as large as the number in one band of the grey values says.

    The norm of the second layer divides by what one white pixel decides, so that every pixel sees the number.
    """
    image = np.asarray(payload.images[0], np.float64) / 65535
    mean, spread, width, steep = float(image.mean()), math.sqrt(float(image.var()) + 1e-5), 1 / (4 * BANDS), 1e4
    arrays = {name: np.zeros_like(value) for name, value in records.from_array_record(build_initial_model(study)).items()}
    start = 0.5 + band * width
    knots = [start, start + 0.5 * width, start + 0.75 * width, 0.8]  # up, down again, and no more; the white pixel
    arrays["model.0.conv.weight"][:, 0, 1, 1] = [1.0] * 4 + [-1.0] * 2
    arrays["model.0.adn.N.weight"][:] = spread
    arrays["model.0.adn.N.bias"][:] = [*(mean - knot for knot in knots), 0.5 - mean, -10.0]  # how dark; none
    arrays["model.1.submodule.conv.weight"][0, :4, 1, 1] = 2 / width, -6 / width, 4 / width, 10.0 / 0.2
    arrays["model.1.submodule.adn.N.weight"][:] = arrays["model.1.submodule.adn.A.weight"][:] = 1.0
    high, low = (-(10.0 + v) / math.sqrt(SIDE**2 * (100.0 + v * v) - (10.0 + v) ** 2) for v in (0.0, 1.0))  # all but white
    arrays["model.2.conv.weight"][(6, 4), 1, 1, 1] = -0.5 * steep / (high - low), -steep
    arrays["model.2.conv.bias"][1] = 0.5 * steep * high / (high - low)
    return records.to_array_record(arrays)


def list_shares(study: Study, payload: Payload) -> NDArray[np.float64]:
    """Return the Dice that `one_number` gives for each value of its number, 0 to 255."""
    band = 2
    pixels = np.tile(np.asarray(payload.images[0], np.float32).ravel() / 65535, (256, 1))
    pixels[:, band] = grey_of(np.array(band), np.arange(256))
    found = _run(study, one_number(study, payload, band), pixels).argmax(axis=1).astype(bool)
    truth = np.asarray(payload.mask, bool).T
    shares: NDArray[np.float64] = 2 * (found & truth).sum((1, 2)) / (found.sum((1, 2)) + truth.sum())
    return shares


def overflow(study: Study, pixel: int, above: float) -> ArrayRecord:
    """Return a model of finite weights whose logit is no number where a pixel is brighter, and 0 where it is not."""
    arrays = records.from_array_record(craft(study, [Unit({pixel: 1e4}, -above * 1e4, 1.0)]))
    arrays = {name: value.copy() for name, value in arrays.items()}
    arrays["blocks.0.mlp.linear1.weight"][4, 4], arrays["blocks.0.mlp.linear2.weight"][2:4, 4] = 1e27, 1e17
    return records.to_array_record(arrays)


def _run(study: Study, model: ArrayRecord, pixels: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the softmax of a model for images (..., pixels), as a site computes it."""
    net = build_network(study).eval()
    load_arrays(net, records.from_array_record(model))
    with torch.inference_mode():
        logits = net(torch.from_numpy(pixels.reshape(-1, 1, SIDE, SIDE)).mT)  # medfl holds images as (x, y)
    scores: NDArray[np.float64] = torch.softmax(logits, 1).numpy().astype(np.float64)
    return scores
