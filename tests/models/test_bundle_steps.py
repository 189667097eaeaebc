"""The steps of a bundle give the network what medfl gives it, to the last digits that sums in another order leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.transforms import LoadImage, SaveImage
from numpy.typing import NDArray
from PIL import Image

from medfl.clients.training.batches import padded_shape, read_window
from medfl.data.image_files import read_image
from medfl.data.nifti import read_nifti
from medfl.data.preprocess.steps import preprocess
from medfl.data.volume import Volume
from medfl.models.bundle_inference import inference_config
from medfl.models.bundle_steps import missing_steps, naming
from medfl.study import Study
from medfl.testing.sites import make_study

pytestmark = [
    pytest.mark.filterwarnings("ignore:NvImgCodec:UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),  # MONAI's reader
]

VOLUMES: dict[str, dict[str, Any]] = {
    "zscore": {},
    "zscore, clipped": {"clip": True, "percentiles": "2,98"},
    "zscore-nonzero": {"intensity": "zscore-nonzero"},
    "unit": {"intensity": "unit"},
    "percentile": {"intensity": "percentile"},
    "percentile, clipped": {"intensity": "percentile", "clip": True},
    "window": {"intensity": "window", "window": "-1,2"},
    "standardize": {"intensity": "standardize", "window": "-1,2", "mean": 0.3, "std": 0.7},
    "foreground": {"crop": "foreground"},
    "nonzero": {"crop": "nonzero"},
    "spacing": {"spacing": "1.5,1.5,2"},
    "size": {"size": "20,16,16"},
    "all": {"crop": "nonzero", "spacing": "2,2,2", "size": "16,16,12", "intensity": "percentile", "dtype": "float16"},
}
PICTURES: dict[str, dict[str, Any]] = {
    "zscore": {},
    "made smaller": {"size": "24,24"},
    "made larger": {"size": "64,64"},
    "foreground": {"crop": "foreground", "size": "32,32"},
    "equalize": {"contrast": "equalize", "size": "32,32"},
}


def oblique_affine() -> NDArray[np.float64]:
    """Return the place of a volume whose axes run to the back, the top and the left, turned by ten degrees."""
    angle = np.deg2rad(10)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array([[0, 0, -1.2], [-1, 0, 0], [0, 2.5, 0]])
    affine[:3, 3] = 20, 30, -40
    return affine


def write_volume(path: Path, shape: tuple[int, ...] = (30, 9, 22)) -> Path:
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    array[:3], array[:, :, -2:], array[-2:] = 0, 0, -1
    image = nibabel.Nifti1Image(array, oblique_affine())
    image.set_sform(oblique_affine(), 1)
    image.set_qform(oblique_affine(), 1)
    nibabel.save(image, path)
    return path


def write_picture(path: Path, *, colour: bool = False, size: tuple[int, int] = (50, 40)) -> Path:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (size[1], size[0], 3) if colour else (size[1], size[0]), dtype=np.uint8)
    pixels[:4] = 0
    Image.fromarray(pixels).save(path)
    return path


def by_monai(study: Study, path: Path) -> NDArray[np.float32]:
    """Return the input of the network as the configuration of a bundle makes it."""
    config = json.loads(json.dumps(inference_config(study, {"network_def": {"_target_": "torch.nn.Identity"}})))
    prepare = ConfigParser(config).get_parsed_content("preprocessing")
    return np.asarray(prepare({"image": str(path)})["image"])


def by_medfl(study: Study, volume: Volume) -> NDArray[np.float32]:
    """Return the input of the network as medfl's own prediction makes it."""
    prepared, _ = preprocess(volume, None, study)
    images = torch.zeros((1, *prepared.array.shape[:1], *padded_shape(study, prepared.shape)))
    read_window(prepared.array, images.numpy()[0], [0] * len(prepared.shape))
    return images.numpy()[0]


def assert_same(one: NDArray[np.float32], other: NDArray[np.float32]) -> None:
    assert one.shape == other.shape
    assert other.std() > 0
    np.testing.assert_allclose(one, other, rtol=0, atol=5e-4)


@pytest.mark.parametrize("name", VOLUMES)
def test_a_volume_is_prepared_as_in_training(name: str, tmp_path: Path) -> None:
    modality = "CT" if "window" in VOLUMES[name] else "MR"
    study = make_study(dimension=3, task={"modality": modality}, preprocessing=VOLUMES[name])
    assert not missing_steps(study)
    path = write_volume(tmp_path / "image.nii.gz")
    assert_same(by_monai(study, path), by_medfl(study, read_nifti(path)))


def test_a_volume_smaller_than_the_patch_lies_in_its_middle(tmp_path: Path) -> None:
    study = make_study(dimension=3, training={"patch": "32,32,16"})
    path = write_volume(tmp_path / "image.nii.gz")
    assert_same(by_monai(study, path), by_medfl(study, read_nifti(path)))


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_prepared_as_in_training(name: str, colour: bool, tmp_path: Path) -> None:
    study = make_study(task={"modality": "XR"}, preprocessing=PICTURES[name])
    assert not missing_steps(study)
    path = write_picture(tmp_path / "image.png", colour=colour)
    assert_same(by_monai(study, path), by_medfl(study, read_image(path)))


def test_a_picture_that_a_camera_turned_and_one_of_16_bits_are_read_alike(tmp_path: Path) -> None:
    study = make_study(task={"modality": "XR"}, preprocessing={"intensity": "unit"})
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = tmp_path / "turned.png"
    Image.open(write_picture(tmp_path / "image.png")).save(turned, exif=exif)
    assert_same(by_monai(study, turned), by_medfl(study, read_image(turned)))
    deep = tmp_path / "deep.png"
    Image.fromarray(np.arange(48 * 32, dtype=np.uint16).reshape(48, 32) * 40).save(deep)
    assert_same(by_monai(study, deep), by_medfl(study, read_image(deep)))


def test_a_tiff_that_lies_on_its_side_is_refused(tmp_path: Path) -> None:
    config = inference_config(make_study(task={"modality": "XR"}), {"network_def": {}})
    chosen = {key: config[key] for key in ("imports", "pictures", "lying", "files")}
    for number in (1, 3, 6):
        parser = ConfigParser(chosen | {"dataset_dir": str(tmp_path)})
        Image.new("L", (6, 4)).save(tmp_path / f"{number}.tif", tiffinfo={0x0112: number})
        if number < 5:
            assert len(parser.get_parsed_content("files")) == len(list(tmp_path.iterdir()))
    with pytest.raises(RuntimeError) as caught:
        parser.get_parsed_content("files")
    assert "save as PNG first" in str(caught.value.__cause__)
    assert "6.tif" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("modality", "chosen", "word"),
    [
        ("CT", {"crop": "body"}, "body"),
        ("MR", {"bias-correction": "n4"}, "bias field"),
        ("MR", {"intensity": "zscore-nonzero", "clip": True}, "percentiles"),
    ],
)
def test_what_monai_cannot_do_is_said(modality: str, chosen: dict[str, Any], word: str) -> None:
    (sentence,) = missing_steps(make_study(dimension=3, task={"modality": modality}, preprocessing=chosen))
    assert word in sentence


def test_a_box_of_unequal_sides_is_said() -> None:
    (sentence,) = missing_steps(make_study(preprocessing={"size": "32,16"}))
    assert "sides differ" in sentence


@pytest.mark.parametrize(
    ("channels", "files", "expected"),
    [
        (1, ["a.nii", "a.nii.gz", "v1.2.nii.gz"], ["a.nii.gz_mask.nii.gz", "a.nii_mask.nii.gz", "v1.2_mask.nii.gz"]),
        ("T1,FLAIR", ["a_0000.nii.gz", "b.c_0000.nii"], ["a_mask.nii.gz", "b.c_mask.nii.gz"]),
    ],
)
def test_each_image_has_a_mask_of_its_own_name(channels: object, files: list[str], expected: list[str], tmp_path: Path) -> None:
    study = make_study(dimension=3, task={"channels": channels})
    config = inference_config(study, {"network_def": {}})
    chosen = {key: config[key] for key in ("imports", "files", *naming(study))}
    images = tmp_path / "visits [2]"  # signs that a pattern gives a meaning
    images.mkdir()
    parser = ConfigParser(chosen | {"dataset_dir": str(images), "series": []})
    for name in files:
        for k in range(study.task.channel_count):
            nibabel.save(
                nibabel.Nifti1Image(np.ones((4, 3, 2), np.uint8), np.eye(4)), images / name.replace("_0000", f"_{k:04d}")
            )
    out = tmp_path / "out"
    save = SaveImage(
        out,
        "mask",
        ".nii.gz",
        separate_folder=False,
        output_name_formatter=parser.get_parsed_content("name_mask"),
        print_log=False,
    )
    for case in parser.get_parsed_content("files"):
        save(LoadImage(image_only=True, ensure_channel_first=True)(case["image"])[:1])
    assert sorted(path.name for path in out.iterdir()) == expected
