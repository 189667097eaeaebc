"""Batches of a site's prepared cases, read from memory-mapped files: only what a batch needs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medfl.data.store.prepared_data import PreparedCase
from medfl.errors import TrainingError
from medfl.study import Study

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Batch:
    """Images, or patches of them, with their labels.

    Parameters
    ----------
    images : Tensor
        float32 (B, C, X, Y[, Z]).
    labels : Tensor
        Masks uint8 (B, X, Y[, Z]), or classes int64 (B,).
    spacing : ndarray
        (B, D), voxel size in mm.
    annotated : tuple of tuple of int
        Annotated classes of each image; an empty tuple: all.
    """

    images: Tensor
    labels: Tensor
    spacing: NDArray[np.float64]
    annotated: tuple[tuple[int, ...], ...] = ()


def count_steps(study: Study, *cases: int) -> int:
    """Return the number of optimizer steps of a round at sites with these numbers of training cases, all together.

    Examples
    --------
    Two epochs of five images in batches of two are six steps, as the last batch of an epoch holds one image.
    """
    if study.training.local_steps:
        return study.training.local_steps * len(cases)
    return study.training.local_epochs * len(_batch_sizes(study, cases))


def iter_batches(
    study: Study, cases: Sequence[PreparedCase], rng: np.random.Generator, counts: Sequence[int] = ()
) -> Iterator[Batch]:
    """Iterate over the batches of one round.

    Cases come in random order, each once an epoch (with patches, ``patches_per_image`` times), or, when the study asks for
    balanced sampling, all classes equally often. With ``local-epochs`` the last batch of an epoch may be smaller; with
    ``local-steps`` all batches are full.

    Parameters
    ----------
    study : Study
        Gives batch size, patch, and epochs or steps.
    cases : sequence of PreparedCase
        The training cases.
    rng : numpy.random.Generator
        Source of all random choices.
    counts : sequence of int
        Number of cases of each site, where `cases` are those of several in one place: the batches are then as many and as large
        as those of all sites together, each of cases of any site.

    Raises
    ------
    TrainingError
        ``TRAIN-NO-CASES``, or ``TRAIN-SHAPES`` when a batch would hold images of several sizes.
    """
    if not cases:
        raise TrainingError(
            "TRAIN-NO-CASES", "there is no training case at this site.", "Add patients, or lower the shares in 'splits'."
        )
    counts, size = counts or (len(cases),), study.training.batch_size
    if study.training.local_steps:
        stream = itertools.chain.from_iterable(_draw_order(study, cases, rng) for _ in itertools.count())
        for _ in range(study.training.local_steps * len(counts)):
            yield _read_batch(study, [cases[i] for i in itertools.islice(stream, size)], rng)
        return
    for _ in range(study.training.local_epochs):
        sizes = _batch_sizes(study, counts)
        order = iter(_draw_order(study, cases, rng))
        for each in sizes if len(counts) == 1 else rng.permutation(sizes):  # smaller ones may come at any time
            yield _read_batch(study, [cases[i] for i in itertools.islice(order, each)], rng)


def padded_shape(study: Study, shape: Sequence[int]) -> Shape:
    """Return the shape to which a whole image is padded: at least a patch, or else a multiple of what the network needs."""
    if study.training.patch:
        return tuple(max(n, p) for n, p in zip(shape, study.training.patch, strict=True))
    divisors = study.network.divisors(len(shape))
    return tuple(math.ceil(n / d) * d for n, d in zip(shape, divisors, strict=True))


def read_window(source: NDArray[Any], out: NDArray[Any], start: Sequence[int]) -> None:
    """Copy a window of an image; an image smaller than the window is centred in it.

    Parameters
    ----------
    source : ndarray
        (..., X, Y[, Z]), usually memory-mapped.
    out : ndarray
        (..., window), zero-filled; changed in place.
    start : sequence of int
        First voxel of the window, one for each axis; ignored on an axis on which the image is smaller than the window.
    """
    taken: list[slice] = []
    placed: list[slice] = []
    axes = len(start)
    for first, have, want in zip(start, source.shape[-axes:], out.shape[-axes:], strict=True):
        before = max((want - have) // 2, 0)
        length = min(have, want)
        first = first if have > want else 0
        taken.append(slice(first, first + length))
        placed.append(slice(before, before + length))
    source_index: tuple[Any, ...] = (..., *taken)
    out_index: tuple[Any, ...] = (..., *placed)
    out[out_index] = source[source_index]


def _batch_sizes(study: Study, counts: Sequence[int]) -> list[int]:
    """Return the sizes of the batches of an epoch at sites with these numbers of cases, one site after the other."""
    size, samples = study.training.batch_size, [_samples_per_epoch(study, count) for count in counts]
    return [min(size, number - first) for number in samples for first in range(0, number, size)]


def _samples_per_epoch(study: Study, cases: int) -> int:
    return cases * (study.training.patches_per_image if study.training.patch else 1)


def _draw_order(study: Study, cases: Sequence[PreparedCase], rng: np.random.Generator) -> NDArray[np.int64]:
    count = _samples_per_epoch(study, len(cases))
    if study.training.balanced_sampling and study.task.kind == "classification":
        labels = np.array([int(case.require_label()) for case in cases])
        _, which, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        return rng.choice(len(cases), size=count, p=1.0 / (len(sizes) * sizes[which]))
    return rng.permutation(np.repeat(np.arange(len(cases)), count // len(cases)))


def _read_batch(study: Study, cases: Sequence[PreparedCase], rng: np.random.Generator) -> Batch:
    sources = [case.image for case in cases]  # each access maps the file anew
    shape = _common_shape(study, [image.shape[1:] for image in sources])
    # torch's own memory is aligned the same way every time, so that the bits of a result do not depend on it
    images = torch.zeros((len(cases), study.task.channel_count, *shape))
    masks = study.task.kind == "segmentation"
    labels = torch.zeros((len(cases), *shape), dtype=torch.uint8) if masks else torch.zeros(len(cases), dtype=torch.int64)
    image_view, label_view = images.numpy(), labels.numpy()
    for k, (case, source) in enumerate(zip(cases, sources, strict=True)):
        start = _draw_start(study, case, source.shape[1:], shape, rng)
        read_window(source, image_view[k], start)
        label = case.require_label()
        if isinstance(label, int):
            label_view[k] = label
        else:
            read_window(label, label_view[k], start)
    spacing = np.array([case.spacing for case in cases], dtype=np.float64)
    return Batch(images, labels, spacing, tuple(case.annotated for case in cases))


def _common_shape(study: Study, shapes: Sequence[Shape]) -> Shape:
    if study.training.patch:
        return study.training.patch
    padded = {padded_shape(study, shape) for shape in shapes}
    if len(padded) > 1:
        raise TrainingError(
            "TRAIN-SHAPES",
            f"a batch would hold images of {len(padded)} sizes, and all images of a batch must have the same.",
            "Set training.patch or preprocessing.size, or training.batch-size = 1.",
        )
    return padded.pop()


def _draw_start(study: Study, case: PreparedCase, have: Shape, want: Shape, rng: np.random.Generator) -> list[int]:
    free = [max(h - w, 0) for h, w in zip(have, want, strict=True)]
    if not any(free):
        return [0] * len(free)
    if study.task.kind == "segmentation" and rng.random() < study.training.foreground:
        centre = _draw_foreground_voxel(case, rng)
        if centre is not None:
            return [int(min(max(c - w // 2, 0), r)) for c, w, r in zip(centre, want, free, strict=True)]
    return [int(rng.integers(r + 1)) for r in free]


def _draw_foreground_voxel(case: PreparedCase, rng: np.random.Generator) -> list[int] | None:
    """Draw one of the classes present, then one of its voxels; a rare class comes as often as a common one."""
    present = [voxels for _, voxels in sorted(case.foreground.items()) if len(voxels)]
    if not present:
        return None
    voxels = present[int(rng.integers(len(present)))]
    return [int(c) for c in voxels[int(rng.integers(len(voxels)))]]
