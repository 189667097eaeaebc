"""Choices of a new study: each follows from the data in a way that can be told by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from medfl.planning.image_choices import choose_for_images
from medfl.planning.plan import Plan
from medfl.planning.study_choices import Choice, DataSummary, choose_training
from medfl.study.study_file import Scalar
from medfl.study.task import Task

PICTURES = DataSummary(
    task=Task(kind="classification", dimension=2, modality="XR", classes=("no", "yes")),
    shape=(512, 512),
    spacing=(),
    class_cases=(50, 50),
    patients_a_site=30,
    cases_a_site=40,
    names_sides=False,
    has_gpu=False,
)
VOLUMES = replace(
    PICTURES,
    task=Task(kind="segmentation", dimension=3, modality="MR", classes=("background", "organ")),
    shape=(240, 240, 160),
    spacing=(1.0, 1.0, 1.0),
    class_cases=(),
    plan=Plan(
        cases=20,
        shape=(240, 240, 160),
        spacing=(1.0, 1.0, 1.0),
        crop="nonzero",
        intensity="zscore",
        foreground=None,
        patch=(128, 128, 128),
        batch=2,
        filters=(32, 64, 128, 256, 320, 320),
        strides=((1, 1, 1), *((2, 2, 2),) * 5),
        kernels=((3, 3, 3),) * 6,
    ),
)


def values(choices: tuple[Choice, ...] | list[Choice]) -> dict[str, Scalar]:
    return {choice.key: choice.value for choice in choices}


def trained(data: DataSummary, batch: int = 16) -> dict[str, Scalar]:
    return values(list(choose_training(data, batch)))


def seen(data: DataSummary) -> dict[str, Scalar]:
    return values(choose_for_images(data)[0])


def test_no_image_is_mirrored_where_classes_name_a_side_nor_any_volume() -> None:
    assert trained(PICTURES)["augmentation.flip"] == "0"
    assert trained(replace(PICTURES, names_sides=True))["augmentation.flip"] == ""
    assert trained(VOLUMES)["augmentation.flip"] == ""


@pytest.mark.parametrize(
    ("counts", "weights"), [((50, 50), None), ((60, 50), None), ((90, 50), "balanced"), ((9, 0, 3), "balanced")]
)
def test_classes_are_weighted_where_they_are_uneven(counts: tuple[int, ...], weights: str | None) -> None:
    assert trained(replace(PICTURES, class_cases=counts)).get("loss.class-weights") == weights


def test_the_contrast_of_ct_is_left_alone() -> None:
    for modality, changed in (("CT", False), ("XR", True), ("US", True)):
        data = replace(PICTURES, task=PICTURES.task.model_copy(update={"modality": modality}))
        assert ("augmentation.intensity" in trained(data)) is changed


def test_a_round_of_a_large_hospital_is_cut_to_steps() -> None:
    assert trained(PICTURES)["training.local-epochs"] == 2
    large = trained(replace(PICTURES, cases_a_site=10_000))
    assert large["training.local-steps"] == 100
    assert "training.local-epochs" not in large


@pytest.mark.parametrize(
    ("shape", "size"),
    [((512, 512), "128,128"), ((64, 64), "64,64"), ((1024, 512), "128,64"), ((600, 512), "128,112"), ((20, 20), "64,64")],
)
def test_pictures_keep_their_proportions_and_are_not_enlarged(shape: tuple[int, ...], size: str) -> None:
    assert seen(replace(PICTURES, shape=shape))["preprocessing.size"] == size


def test_small_pictures_are_large_enough_for_the_deepest_level() -> None:
    data = replace(PICTURES, shape=(20, 20))
    assert seen(data)["preprocessing.size"] == "64,64"  # a ResNet divides by 32
    masks = data.task.model_copy(update={"kind": "segmentation"})
    assert seen(replace(data, task=masks))["preprocessing.size"] == "32,32"  # this U-Net by 16


def test_a_gpu_gets_larger_images_and_networks() -> None:
    assert (seen(PICTURES)["network.depth"], seen(PICTURES)["preprocessing.size"]) == (10, "128,128")
    with_gpu = seen(replace(PICTURES, has_gpu=True))
    assert (with_gpu["network.depth"], with_gpu["preprocessing.size"]) == (18, "224,224")


def test_the_window_of_ct_pictures_is_marked_to_be_looked_at() -> None:
    data = replace(PICTURES, task=PICTURES.task.model_copy(update={"modality": "CT"}))
    doubtful = {choice.key for choice in choose_for_images(data)[0] if choice.is_doubtful}
    assert doubtful == {"preprocessing.window"}


def test_a_processor_gets_the_plan_with_half_of_its_features_and_a_patch_that_it_can_train_on() -> None:
    choices, batch = choose_for_images(VOLUMES)
    keys = values(choices)
    patch = [int(side) for side in str(keys["training.patch"]).split(",")]
    assert batch == 2
    assert keys["network.filters"] == "16,32,64,128,128,128"
    assert patch == [64, 64, 64]  # two voxels are left at the deepest of five halvings
    assert keys["training.foreground"] == 0.33


def test_a_gpu_gets_the_plan_as_it_is() -> None:
    choices, batch = choose_for_images(replace(VOLUMES, has_gpu=True))
    assert (values(choices)["network.filters"], values(choices)["training.patch"], batch) == (
        "32,64,128,256,320,320",
        "128,128,128",
        2,
    )


def test_a_patch_that_holds_volumes_whole_need_not_be_centred() -> None:
    assert VOLUMES.plan is not None
    small = replace(VOLUMES.plan, shape=(40, 40, 32), patch=(40, 40, 32), strides=((1, 1, 1), *((2, 2, 2),) * 3))
    assert seen(replace(VOLUMES, plan=small))["training.foreground"] == 0.0


def test_without_a_plan_a_small_network_takes_its_place_and_is_marked() -> None:
    choices, _ = choose_for_images(replace(VOLUMES, plan=None, shape=(64, 64, 10)))
    assert values(choices)["training.patch"] == "48,48,8"
    assert "training.patch" in {choice.key for choice in choices if choice.is_doubtful}


def test_volumes_of_one_class_are_resampled_so_that_they_fit() -> None:
    data = replace(VOLUMES, task=VOLUMES.task.model_copy(update={"kind": "classification"}), plan=None)
    keys = seen(data)
    assert keys["preprocessing.spacing"] == "3.8,3.8,3.8"  # 240 mm in 64 voxels
    assert keys["preprocessing.size"] == "64,64,48"
    assert math.prod(map(int, str(keys["preprocessing.size"]).split(","))) <= 64**3
