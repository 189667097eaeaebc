"""A bundle is run by MONAI where medfl is not installed, and gives what medfl gives."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps
from pydicom.dataset import Dataset

from medfl.data.data_folder import open_data_folder
from medfl.models.array_prediction import Predictor
from medfl.models.bundle import write_bundle
from medfl.models.folder_prediction import FolderPrediction
from medfl.models.predicted_folder import PredictionOptions
from medfl.models.trained_model import TrainedModel
from medfl.testing.sites import make_study
from tests.data.dicom.phantom import AXIAL, SHAPE, encode_pixels, stack, write_slices
from tests.data.dicom.writing import oblique
from tests.models.small_models import FACTS, make_model, organ_image, write_pictures, write_volumes

pytestmark = pytest.mark.slow
fire = pytest.importorskip("fire", reason="python -m monai.bundle needs it")
ignite = pytest.importorskip("ignite", reason="MONAI's evaluator needs it")
monai = pytest.importorskip("monai")

SLICES = 14


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Python that has torch and MONAI, and in which medfl cannot be imported."""
    folder = tmp_path_factory.mktemp("elsewhere") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    places = {str(Path(str(module.__file__)).parents[1]) for module in (fire, ignite, monai)}
    (packages / "others.pth").write_text("\n".join(sorted(places)))  # what lies there is found; its own .pth files are not read
    (packages / "medfl.py").write_text("raise ImportError('medfl is not installed here')\n")
    found = subprocess.run(
        [folder / "bin/python", "-c", "import medfl"], capture_output=True, text=True, env=environment(), cwd=folder
    )
    assert "medfl is not installed here" in found.stderr
    return folder / "bin/python"


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}


def run_bundle(python: Path, model: TrainedModel, images: Path, folder: Path) -> Path:
    """Write a bundle, and run it as its README says; return the folder of what it made."""
    bundle, out = write_bundle(model, FACTS, folder / "bundle").path, folder / "predictions"
    command = ["-m", "monai.bundle", "run", "--config_file", "configs/inference.json"]
    options = ["--dataset_dir", str(images), "--output_dir", str(out)]
    done = subprocess.run([python, *command, *options], cwd=bundle, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def assert_equal_masks(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    for of_bundle, own in pairs:
        assert own.any()
        assert np.array_equal(of_bundle, own)  # a Dice of 1


@pytest.mark.parametrize(
    "prepared", [{}, {"crop": "foreground", "spacing": "1.2,1.2,2", "intensity": "percentile", "clip": True}]
)
def test_masks_of_volumes_are_those_of_medfl(prepared: dict[str, object], python: Path, tmp_path: Path) -> None:
    model = make_model(make_study(dimension=3, training={"patch": "16,16,16"}, preprocessing=prepared))
    images = tmp_path / "images"
    images.mkdir()
    files = write_volumes(images)
    out, own = run_bundle(python, model, images, tmp_path), Predictor(model)
    masks = [nibabel.load(out / path.name.replace(".nii.gz", "_mask.nii.gz")) for path in files]
    for path, mask in zip(files, masks, strict=True):
        np.testing.assert_allclose(mask.affine, nibabel.load(path).affine)
    assert_equal_masks([(np.asarray(m.dataobj), own(nibabel.load(p))) for p, m in zip(files, masks, strict=True)])


def test_masks_of_series_are_those_of_medfl(python: Path, tmp_path: Path) -> None:
    model = make_model(make_study(dimension=3, task={"modality": "CT"}, training={"patch": "16,16,16"}))
    images = tmp_path / "images"

    def with_organ(seed: int) -> Callable[[int, Dataset], None]:
        values = organ_image((SLICES, *SHAPE), np.random.default_rng(seed))
        return lambda k, ds: setattr(ds, "PixelData", encode_pixels(values[k]))

    planes = {"axial": (AXIAL, 1), "feet first": (AXIAL, -1), "oblique": (oblique(), 1)}
    for seed, (name, (axes, direction)) in enumerate(planes.items()):
        write_slices(images / name, stack(SLICES, axes)[::direction], with_organ(seed), axes=axes)
    out = run_bundle(python, model, images, tmp_path)
    options = PredictionOptions(mask_format="nifti", original_names=True)
    found = FolderPrediction([model], open_data_folder(images), tmp_path / "own", options).run()
    with (tmp_path / "own" / "names.csv").open() as file:
        own = {Path(row["image"]).parent.name: tmp_path / "own" / row["prediction"] for row in csv.DictReader(file)}
    assert (len(found.done), own.keys()) == (3, planes.keys())
    pairs = [
        [nibabel.as_closest_canonical(nibabel.load(path)) for path in (out / f"{name}_mask.nii.gz", own[name])] for name in own
    ]
    for of_bundle, of_medfl in pairs:
        np.testing.assert_allclose(of_bundle.affine, of_medfl.affine, atol=1e-4)
    assert_equal_masks([(np.asarray(one.dataobj), np.asarray(other.dataobj)) for one, other in pairs])


def test_masks_of_pictures_are_those_of_medfl(python: Path, tmp_path: Path) -> None:
    model = make_model(make_study(preprocessing={"size": "32,32"}))
    images = tmp_path / "images"
    images.mkdir()
    files = [path for path in write_pictures(images) if "organ" in path.name]
    wide = Image.open(files[0])
    bmp, turned, upside_down = images / "wide-organ.bmp", images / "turned.jpg", images / "upside-down.tif"
    wide.transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(bmp)
    camera = Image.Exif()
    camera[ExifTags.Base.Orientation] = 6  # stored lying on its left side
    wide.save(turned, exif=camera, quality=95)
    wide.transpose(Image.Transpose.ROTATE_180).save(upside_down, tiffinfo={ExifTags.Base.Orientation: 3})
    out, own = run_bundle(python, model, images, tmp_path), Predictor(model)
    names = {path: f"{path.name if path.stem == 'wide-organ' else path.stem}_mask.png" for path in [*files, bmp]}
    names |= {turned: "turned_mask.png", upside_down: "upside-down_mask.png"}
    masks = {path: np.asarray(Image.open(out / name)) for path, name in names.items()}
    assert len(list(out.iterdir())) == len(list(images.iterdir()))
    assert_equal_masks([(masks[path], own(np.asarray(Image.open(path)))) for path in [*files, bmp]])
    upright = own(np.asarray(ImageOps.exif_transpose(Image.open(turned))))
    assert upright.shape == (40, 60)
    assert_equal_masks([(masks[turned], np.rot90(upright)), (masks[upside_down], np.rot90(masks[files[0]], 2))])


def test_probabilities_of_pictures_are_those_of_medfl(python: Path, tmp_path: Path) -> None:
    network = {"name": "resnet", "depth": 10, "width": 0.25}
    model = make_model(make_study("classification", network=network, preprocessing={"size": "64,64"}))
    images = tmp_path / "images"
    images.mkdir()
    files = write_pictures(images)
    out, own = run_bundle(python, model, images, tmp_path), Predictor(model)
    with (out / "predictions.csv").open() as file:
        head, *found = csv.reader(file)
    assert head == ["image", *model.study.task.classes]
    rows = {Path(row[0]).name: [float(value) for value in row[1:]] for row in found}
    expected = {path.name: list(own(np.asarray(Image.open(path))).values()) for path in files}
    assert rows.keys() == expected.keys()
    for name, probabilities in expected.items():
        np.testing.assert_allclose(rows[name], probabilities, atol=1e-5)
    assert max(p[1] for p in expected.values()) - min(p[1] for p in expected.values()) > 0.5
