from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from medfl.clients.training.augmentation import Augmenter
from medfl.study.sections import Augmentation


def batch(shape: tuple[int, ...] = (12, 10), count: int = 3) -> tuple[Tensor, Tensor, np.ndarray]:
    images = torch.rand(count, 1, *shape, generator=torch.Generator().manual_seed(0))
    labels = (images[:, 0] > 0.5).to(torch.uint8)
    return images, labels, np.ones((count, len(shape)))


def augmenter(seed: int = 1, **changes: object) -> Augmenter:
    return Augmenter(Augmentation(**{"probability": 1.0, **changes}), seed)  # type: ignore[arg-type]


def test_nothing_asked_nothing_done() -> None:
    images, labels, spacing = batch()
    got, masks = augmenter()(images, labels, spacing)
    assert got is images
    assert masks is labels


def test_flip_mirrors_image_and_mask_on_the_axis() -> None:
    images, labels, spacing = batch()
    got, masks = augmenter(flip=(1,))(images.clone(), labels.clone(), spacing)
    assert torch.equal(got, images.flip(3))
    assert torch.equal(masks, labels.flip(2))


def test_probability_is_of_each_image() -> None:
    images, labels, spacing = batch(count=200)
    got, _ = augmenter(flip=(0,), probability=0.3)(images.clone(), labels.clone(), spacing)
    changed = [not torch.equal(a, b) for a, b in zip(got, images, strict=True)]
    assert np.mean(changed) == pytest.approx(0.3, abs=0.1)


ALL = {"flip": (0,), "rotate": 20.0, "scale": 0.2, "shift": 0.1, "noise": 0.1, "intensity": 0.1, "gamma": 0.3, "blur": 1.0}


@pytest.mark.parametrize("shape", [(12, 10), (8, 9, 7)])
def test_same_seed_gives_the_same_bits_whatever_happened_before(shape: tuple[int, ...]) -> None:
    results = []
    for disturb in range(2):
        torch.manual_seed(disturb)
        np.random.seed(disturb)  # noqa: NPY002
        images, labels, spacing = batch(shape)
        results.append(augmenter(**ALL)(images, labels, spacing))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    other = augmenter(seed=2, **ALL)(*batch(shape))
    assert not torch.equal(results[0][0], other[0])
    assert torch.isfinite(results[0][0]).all()
    assert set(results[0][1].unique().tolist()) <= {0, 1}


def test_image_and_mask_move_together() -> None:
    labels = torch.zeros(4, 32, 32, dtype=torch.uint8)
    labels[:, 8:20, 10:16] = 1
    images = labels[:, None].float() * 5.0
    got, masks = augmenter(rotate=40.0, scale=0.2, shift=0.1)(images.clone(), labels.clone(), np.ones((4, 2)))
    assert not torch.equal(masks, labels)
    assert ((got[:, 0] > 2.5) == (masks == 1)).float().mean() > 0.99


def test_rotation_keeps_shapes_in_millimetres() -> None:
    """A disc of 10 mm radius on a grid of 1 x 2 mm stays one when turned."""
    x, y = torch.meshgrid((torch.arange(48) - 23.5) * 1.0, (torch.arange(24) - 11.5) * 2.0, indexing="ij")
    disc = ((x**2 + y**2).sqrt() <= 10.0).to(torch.uint8)[None]
    _, turned = augmenter(rotate=90.0)(disc[:, None].float(), disc.clone(), np.array([[1.0, 2.0]]))
    overlap = 2 * int((turned & disc).sum()) / int(turned.sum() + disc.sum())
    assert overlap > 0.93


def test_shift_moves_by_a_share_of_the_size_at_most() -> None:
    labels = torch.zeros(50, 20, 20, dtype=torch.uint8)
    labels[:, 10, 10] = 1
    _, moved = augmenter(shift=0.2)(labels[:, None].float(), labels.clone(), np.ones((50, 2)))
    places = moved.nonzero()[:, 1:]
    assert int((places - 10).abs().max()) <= 4 + 1
    assert int((places - 10).abs().max()) >= 2


def test_gamma_keeps_mean_and_deviation_also_with_negative_values() -> None:
    images, labels, spacing = batch()
    images = images * 4 - 2
    got, masks = augmenter(gamma=0.5)(images.clone(), labels.clone(), spacing)
    assert not torch.allclose(got, images)
    assert torch.allclose(got.mean((1, 2, 3)), images.mean((1, 2, 3)), atol=1e-4)
    assert torch.allclose(got.std((1, 2, 3)), images.std((1, 2, 3)), atol=1e-4)
    assert torch.equal(masks, labels)


def test_blur_smooths_and_keeps_a_constant_image() -> None:
    images, labels, spacing = batch()
    got, _ = augmenter(blur=2.0)(images.clone(), labels, spacing)
    assert bool((got.std((1, 2, 3)) < images.std((1, 2, 3))).all())
    flat, _ = augmenter(blur=2.0)(torch.full((2, 1, 9, 9), 3.0), labels[:2], spacing[:2])
    assert torch.allclose(flat, torch.full_like(flat, 3.0), atol=1e-5)


def test_constant_image_survives_every_change() -> None:
    images = torch.zeros(2, 1, 9, 9)
    got, _ = augmenter(**ALL)(images, torch.zeros(2, 9, 9, dtype=torch.uint8), np.ones((2, 2)))
    assert torch.isfinite(got).all()


def test_classes_are_left_alone() -> None:
    images, _, spacing = batch()
    labels = torch.tensor([0, 1, 2])
    _, same = augmenter(**ALL)(images, labels, spacing)
    assert same.tolist() == [0, 1, 2]
