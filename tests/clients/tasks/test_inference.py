from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from medfl.clients.tasks.inference import crop_padding, group_cases, predict, read_images
from medfl.clients.training.devices import Device
from medfl.data.cases import Case
from medfl.data.store.prepared_data import PreparedCase

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
    logits = crop_padding(predict(study, net, CPU, images, 0.5), (7, 9))
    assert net.seen == [(1, 1, 8, 10)]
    assert np.array_equal(logits[0, 1].numpy(), case((7, 9)).image[0])


def test_windows_put_together_give_the_whole_image(make_study) -> None:
    net, study = Threshold(), make_study(dimension=3, training={"patch": "4,4,4"})
    images = read_images(study, [case((9, 3, 6))])
    logits = crop_padding(predict(study, net, CPU, images, 0.5)[0], (9, 3, 6))
    assert {shape[1:] for shape in net.seen} == {(1, 4, 4, 4)}
    assert np.allclose(logits[1].numpy(), case((9, 3, 6)).image[0], atol=1e-5)
