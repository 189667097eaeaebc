from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import SpatialResample
from torch import Tensor, nn

from medfl.clients.tasks.inference import crop_padding, group_cases, predict, read_images, resample_to_source
from medfl.clients.training.devices import Device
from medfl.data.cases import Case
from medfl.data.store.prepared_data import PreparedCase, ReferenceMask

CPU = Device(torch.device("cpu"), None)


class Threshold(nn.Module):
    """Logits of two classes, voxel by voxel: any window gives the same answer as the whole image."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(tuple(images.shape))
        return torch.cat([-images, images], 1)


def case(shape: tuple[int, ...], seed: int = 0) -> PreparedCase:
    image = np.random.default_rng(seed).standard_normal((1, *shape)).astype(np.float32)
    return PreparedCase(
        Case.without_files(f"case-{seed}", f"pat-{seed}", "test"), image, np.zeros(shape, np.uint8), (1.0,) * len(shape)
    )


def test_images_of_one_shape_go_together_and_others_apart(make_study) -> None:
    cases = [case((8, 8), 0), case((8, 8), 1), case((6, 8), 2), case((8, 8), 3)]
    assert [len(g) for g in group_cases(make_study(), cases)] == [2, 1, 1]


def test_images_up_to_the_patch_share_its_shape(make_study) -> None:
    study = make_study(training={"patch": "8,8"})
    assert [len(g) for g in group_cases(study, [case((8, 7), 0), case((5, 8), 1)])] == [2]


def test_large_images_go_one_by_one(make_study) -> None:
    assert [len(g) for g in group_cases(make_study(), [case((800, 400), 0), case((800, 400), 1)])] == [1, 1]


def test_whole_image_is_seen_once_when_the_study_has_no_patch(make_study) -> None:
    net, study = Threshold(), make_study()
    images = read_images(study, [case((7, 9))])
    logits = crop_padding(predict(study, net, images, CPU, 0.5), (7, 9))
    assert net.seen == [(1, 1, 8, 10)]
    assert np.array_equal(logits[0, 1].numpy(), case((7, 9)).image[0])


def test_windows_put_together_give_the_whole_image(make_study) -> None:
    net, study = Threshold(), make_study(dimension=3, training={"patch": "4,4,4"})
    images = read_images(study, [case((9, 3, 6))])
    logits = crop_padding(predict(study, net, images, CPU, 0.5)[0], (9, 3, 6))
    assert {shape[1:] for shape in net.seen} == {(1, 4, 4, 4)}
    assert np.allclose(logits[1].numpy(), case((9, 3, 6)).image[0], atol=1e-5)


def test_labels_on_source_agree_with_monais_resampling() -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.standard_normal((3, 10, 9, 8)).astype(np.float32)) * 4
    prepared = np.diag([2.0, 2.0, 2.5, 1.0])
    prepared[:3, 3] = (-5.0, 3.0, 1.0)
    source = np.diag([1.3, 1.7, 3.0, 1.0])
    source[:3, 3] = (-3.0, 5.0, 3.0)  # all inside the prepared grid
    reference = ReferenceMask(np.zeros((11, 7, 5), np.uint8), source, (1.3, 1.7, 3.0), prepared)
    image = MetaTensor(torch.softmax(logits, 0), affine=torch.from_numpy(prepared))
    resample = SpatialResample(mode="bilinear", padding_mode="zeros", align_corners=False, dtype=torch.float32)
    expected = resample(image, dst_affine=torch.from_numpy(source), spatial_size=(11, 7, 5)).argmax(0).numpy()
    assert (resample_to_source(logits, reference) == expected).mean() > 0.995


def test_labels_on_source_of_the_same_grid_are_the_likeliest_classes() -> None:
    logits = torch.randn(2, 6, 5, 4, generator=torch.Generator().manual_seed(0))
    reference = ReferenceMask(np.zeros((6, 5, 4), np.uint8), np.eye(4), (1.0, 1.0, 1.0), np.eye(4))
    assert np.array_equal(resample_to_source(logits, reference), logits.argmax(0).numpy())


def test_what_lies_outside_the_prepared_image_is_background() -> None:
    logits = torch.zeros(2, 4, 4, 4)
    logits[1] = 9.0
    cropped = np.eye(4)
    cropped[:3, 3] = 3.0
    labels = resample_to_source(logits, ReferenceMask(np.zeros((10, 10, 10), np.uint8), np.eye(4), (1.0,) * 3, cropped))
    expected = np.zeros((10, 10, 10), np.uint8)
    expected[3:7, 3:7, 3:7] = 1
    assert np.array_equal(labels, expected)


def test_slabs_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(2, 6, 5, 4, generator=torch.Generator().manual_seed(0))
    reference = ReferenceMask(np.zeros((13, 9, 8), np.uint8), np.diag([0.5, 0.5, 0.5, 1.0]), (0.5,) * 3, np.eye(4))
    whole = resample_to_source(logits, reference)
    monkeypatch.setattr("medfl.clients.tasks.inference._SLAB", 150)
    assert np.array_equal(resample_to_source(logits, reference), whole)
