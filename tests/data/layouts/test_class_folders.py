"""Folders of images and masks are no classes: what is advised is what would be right, and the wrong table is refused."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medfl.data.cohort import read_cohort
from medfl.data.layouts.class_folders import advise_on_class_folders
from medfl.data.quality.site_check import check_site


def fill(root: Path, *patterns: str, count: int = 4, seed: int = 0) -> None:
    """Write pictures, those of a folder as random as images are, and those of each further one as masks of two values."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        grey = rng.integers(0, 256, (16, 16), dtype=np.uint8)
        for place, pattern in enumerate(patterns):
            path = root / pattern.format(id=f"{number:03d}")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.where(grey > 128, 255, 0).astype(np.uint8) if place else grey).save(path)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/{id}.png", "labels/{id}.png"),
        ("Bilder/{id}.png", "Masken/{id}_mask.png"),
        ("imagesTr/image_{id}.png", "labelsTr/label_{id}.png"),
        ("scans/{id}.png", "gt/{id}.png"),
        ("xray/{id}.jpg", "lung_masks/{id}.png"),
        ("images/{id}.png", "overlays/{id}.png"),  # by equal names alone
    ],
)
def test_images_and_masks_in_two_folders_are_advised_as_pairs_and_the_advice_works(
    image: str, mask: str, tmp_path: Path, make_site: Any
) -> None:
    root = tmp_path / "data"
    fill(root, image, mask)
    (root / Path(image).parent / "._000.png").write_bytes(b"x")  # of macOS
    advice = advise_on_class_folders(root)
    assert "folders are classes" not in advice
    settings = dict(re.findall(r'(image|label) = "([^"]+)"', advice))
    assert settings == {"image": image, "label": mask}
    (root / "index.csv").write_text("id,patient\n" + "".join(f"{n:03d},p{n}\n" for n in range(4)))
    check, study = check_site(make_site(root, **settings))
    assert study is not None
    assert study.task.kind == "segmentation"
    assert len([case for case in check.cases if case.usable]) == 4


def test_folders_of_equal_numbers_may_be_classes_or_pairs_and_both_are_told(tmp_path: Path) -> None:
    fill(tmp_path, "benign/{id}.png", "malignant/{id}.png")
    advice = advise_on_class_folders(tmp_path)
    assert "if they are images and their masks" in advice
    assert "folders are classes" in advice


def test_folders_named_as_splits_are_no_classes(tmp_path: Path) -> None:
    fill(tmp_path, "train/{id}.png", "test/{id}_b.png")
    assert "columns image, label, patient and split." in advise_on_class_folders(tmp_path)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("MUELLER/{id}.png", "masks/{id}.png"),
        ("Mueller scans/{id}.png", "masks/{id}.png"),
        ("scans/{id}.png", "Mueller_masks/{id}.png"),
        ("scans/{id}.Mueller.png", "masks/{id}.png"),
        ("scans_Mueller/{id}.png", "images_Mueller/{id}.png"),
    ],
)
def test_no_name_of_a_person_is_repeated(image: str, mask: str, tmp_path: Path) -> None:
    fill(tmp_path, image, mask)
    assert not re.search("mueller", advise_on_class_folders(tmp_path), re.IGNORECASE)


def classes_of(root: Path, make_site: Any, make_study: Any) -> tuple[int, dict[str, int]]:
    """Write an index with the folder of each picture as its class, and return how many cases there are, and the findings."""
    paths = sorted(root.rglob("*.png"))
    rows = [f"{path.relative_to(root).as_posix()},{path.parent.name}" for path in paths]
    (root / "index.csv").write_text("\n".join(["image,label", *rows]))
    names = ",".join(sorted({path.parent.name for path in paths}))
    study = make_study(task__kind="classification", task__classes=names, task__modality="XR", task__dimension=2)
    cohort = read_cohort(make_site(root, patient=""), study)
    return len(cohort.cases), dict(Counter(finding.code for finding in cohort.findings if finding.case))


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [
        ("images/{id}.png", "labels/{id}.png", 4),
        ("Bilder/{id}.png", "Masken/x{id}.png", 4),
        ("benign/{id}.png", "benign/{id}_mask.png", 4),
        ("benign/{id}.png", "malignant/{id}.png", 0),
        ("with_mask/{id}.png", "no_mask/{id}.png", 0),
    ],
)
def test_a_mask_is_no_image_of_a_class(
    first: str, second: str, refused: int, tmp_path: Path, make_site: Any, make_study: Any
) -> None:
    fill(tmp_path / "data", first, second)
    fill(tmp_path / "data", "normal/n{id}.png", seed=1)
    found = classes_of(tmp_path / "data", make_site, make_study)
    assert found == (12 - refused, {"IMG-MASK": refused} if refused else {})


def test_a_mask_may_be_a_channel_of_an_image(tmp_path: Path, make_site: Any, make_study: Any) -> None:
    fill(tmp_path, "{id}.png", "{id}_mask.png")
    rows = [f"{k:03d}.png,{k:03d}_mask.png,{'ab'[k % 2]}" for k in range(4)]
    (tmp_path / "index.csv").write_text("\n".join(["x,mask,label", *rows]))
    kind = {"task__kind": "classification", "task__classes": "a,b", "task__modality": "XR", "task__dimension": 2}
    cohort = read_cohort(make_site(tmp_path, image="x,mask", patient=""), make_study(**kind, task__channels="x,mask"))
    assert len(cohort.cases) == 4
