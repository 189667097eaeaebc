"""Undoing of the preprocessing: a label map comes back onto the voxels of its source, whatever was done to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import SpatialResample
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff
from numpy.typing import NDArray

from medfl.data.preprocess.steps import normalize_and_resample, orient_and_crop
from medfl.data.preprocess.undo import resample_to_source
from medfl.data.source_grid import SourceGrid
from medfl.data.volume import Volume
from tests.data.dicom.writing import oblique


def one_hot(labels: NDArray[np.uint8], classes: int = 3) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.from_numpy(labels.astype(np.int64)), classes).movedim(-1, 0).float()


def turned_oblique(spacing: tuple[float, float, float]) -> NDArray[np.float64]:
    row, column = oblique()
    affine = np.eye(4)
    affine[:3, :3] = np.stack([row, column, np.cross(row, column)], axis=1) * spacing
    affine[:3, 3] = -40.0, 7.0, 120.0
    return affine


def there_and_back(source: Volume, label: NDArray[np.uint8], study: Any) -> NDArray[np.uint8]:
    """Prepare image and label, and bring the prepared label back as if it had been predicted."""
    working = orient_and_crop(source, label, study)
    _, prepared = normalize_and_resample(working, study)
    assert prepared is not None
    return resample_to_source(one_hot(prepared), working.affine, SourceGrid.of_volume(source))


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "SAL"])
def test_a_prediction_goes_back_through_the_whole_preparation(axes: str, make_study: Any) -> None:
    rng = np.random.default_rng(3)
    truth = np.repeat(np.repeat(np.repeat(rng.integers(0, 3, (7, 8, 6)), 4, 0), 4, 1), 4, 2).astype(np.uint8)
    grey = np.zeros(truth.shape, dtype=np.float32)
    grey[4:24, 4:28, 4:20] = 1 + truth[4:24, 4:28, 4:20]  # the crop cuts the rest away
    truth[grey == 0] = 0
    change = axcodes2ornt(tuple(axes))
    affine = turned_oblique((1.0, 1.0, 1.5)) @ inv_ornt_aff(change, truth.shape)
    source = Volume(apply_orientation(grey, change)[np.newaxis].astype(np.float32), affine)
    label = apply_orientation(truth, change).astype(np.uint8)
    classes = "background,liver,lesion"
    padded = make_study(task__classes=classes, preprocessing__crop="foreground", preprocessing__size="32,32,32")
    np.testing.assert_array_equal(there_and_back(source, label, padded), label)
    cut = make_study(task__classes=classes, preprocessing__crop="foreground")
    np.testing.assert_array_equal(there_and_back(source, label, cut), label)
    finer = make_study(task__classes=classes, preprocessing__spacing="0.5,0.5,0.5")
    assert (there_and_back(source, label, finer) == label).mean() > 0.999


def test_a_crop_to_a_size_leaves_background_around(make_study: Any) -> None:
    label = np.ones((12, 10, 8), dtype=np.uint8)
    study = make_study(preprocessing__size="4,6,8")
    expected = np.zeros_like(label)
    expected[4:8, 2:8] = 1
    found = there_and_back(Volume(np.ones((1, *label.shape), np.float32), np.diag([-1.0, 1.0, 2.0, 1.0])), label, study)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", [(96, 60), (60, 96), (20, 13), (48, 48)])
def test_the_size_of_a_picture_is_undone(shape: tuple[int, int], make_study: Any) -> None:
    label = np.zeros(shape, dtype=np.uint8)
    label[shape[0] // 4 : shape[0] // 2, shape[1] // 3 :] = 1
    study = make_study(task__dimension=2, task__modality="XR", preprocessing__size="48,48")
    found = there_and_back(Volume(np.ones((1, *shape), np.float32)), label, study)
    apart = np.argwhere(found != label)
    rows, columns = np.abs(apart[:, 0, None] - [shape[0] // 4, shape[0] // 2]), np.abs(apart[:, 1] - shape[1] // 3)
    scale = max(shape) / 48
    assert found.shape == shape
    assert ((rows.min(axis=1) <= scale) | (columns <= scale)).all()  # a pixel of the network at the edges, no more
    assert len(apart) < 0.05 * label.size


def test_probabilities_are_interpolated_before_the_largest_is_taken() -> None:
    shares = torch.zeros((2, 4, 1, 1))
    shares[1, :, 0, 0] = torch.tensor([0.0, 0.45, 1.0, 1.0])
    shares[0] = 1 - shares[1]
    coarse = np.diag([4.0, 4.0, 4.0, 1.0])
    found = resample_to_source(shares, coarse, SourceGrid((20, 1, 1), np.eye(4)))[:, 0, 0]
    # one half is passed at voxel 1.09 of the coarse grid, 4.4 mm; a whole voxel behind the last centre, at 16 mm, all is 0
    assert np.flatnonzero(found).tolist() == list(range(5, 16))


def test_labels_on_source_agree_with_monais_resampling() -> None:
    rng = np.random.default_rng(0)
    probabilities = torch.softmax(torch.from_numpy(rng.standard_normal((3, 10, 9, 8)).astype(np.float32)) * 4, 0)
    prepared = np.diag([2.0, 2.0, 2.5, 1.0])
    prepared[:3, 3] = (-5.0, 3.0, 1.0)
    source = np.diag([1.3, 1.7, 3.0, 1.0])
    source[:3, 3] = (-3.0, 5.0, 3.0)
    image = MetaTensor(probabilities, affine=torch.from_numpy(prepared))
    resample = SpatialResample(mode="bilinear", padding_mode="zeros", align_corners=False, dtype=torch.float32)
    expected = resample(image, dst_affine=torch.from_numpy(source), spatial_size=(17, 12, 9)).argmax(0).numpy()
    assert (resample_to_source(probabilities, prepared, SourceGrid((17, 12, 9), source)) == expected).mean() > 0.995


def test_labels_on_source_of_the_same_grid_are_the_likeliest_classes() -> None:
    probabilities = torch.rand(2, 6, 5, 4, generator=torch.Generator().manual_seed(0))
    found = resample_to_source(probabilities, np.eye(4), SourceGrid((6, 5, 4), np.eye(4)))
    assert np.array_equal(found, probabilities.argmax(0).numpy())


def test_what_lies_outside_the_prepared_image_is_background() -> None:
    probabilities = torch.zeros(2, 4, 4, 4)
    probabilities[1] = 1.0
    cropped = np.eye(4)
    cropped[:3, 3] = 3.0
    labels = resample_to_source(probabilities, cropped, SourceGrid((10, 10, 10), np.eye(4)))
    expected = np.zeros((10, 10, 10), np.uint8)
    expected[3:7, 3:7, 3:7] = 1
    assert np.array_equal(labels, expected)
    away = np.eye(4)
    away[:3, 3] = 40.0
    assert not resample_to_source(probabilities, away, SourceGrid((10, 10, 10), np.eye(4))).any()


def test_turned_grids_are_read_like_interpolated_ones() -> None:
    inner = torch.rand(3, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    probabilities = torch.nn.functional.pad(inner, (1,) * 6)
    probabilities[0] += probabilities.sum(0) == 0  # background at the border, where interpolation reaches beyond it
    turned = np.array([[0, -1, 0, 4], [0, 0, 1, -2], [-1, 0, 0, 5], [0, 0, 0, 1.0]])
    nearly = turned.copy()
    nearly[:3, 3] += 0.001  # a thousandth of a voxel: interpolated, with the same classes
    whole, interpolated = (resample_to_source(probabilities, np.eye(4), SourceGrid((9, 8, 7), m)) for m in (turned, nearly))
    assert whole.any()
    assert (whole == interpolated).mean() > 0.99


def test_slabs_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities = torch.rand(2, 6, 5, 4, generator=torch.Generator().manual_seed(0))
    grid = SourceGrid((13, 9, 8), np.diag([0.5, 0.5, 0.5, 1.0]))
    whole = resample_to_source(probabilities, np.eye(4), grid)
    monkeypatch.setattr("medfl.data.preprocess.undo._SLAB", 150)
    assert np.array_equal(resample_to_source(probabilities, np.eye(4), grid), whole)
