"""Folders of data of each kind, for which a new study is made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from medfl.data.synthetic.brain import Head
from medfl.data.synthetic.dicom_writing import write_dicom
from medfl.data.synthetic.hospitals import make_nodule_images
from medfl.data.synthetic.nifti_writing import write_bids, write_bids_metadata, write_msd, write_msd_metadata

SHAPE = (24, 20, 16)
COUNT = 10


def make_head(number: int) -> Head:
    rng = np.random.default_rng(number)
    label = np.zeros(SHAPE, np.uint8)
    label[4:14, 4:14, 3:13] = 1
    label[8:12, 8:12, 5:10] = 2
    image = (rng.integers(100, 140, SHAPE) + 200 * label).astype(np.uint16)
    return Head(image, label, np.diag([2.0, 2.0, 3.0, 1.0]))


def nnunet(root: Path) -> None:
    for number in range(COUNT):
        head = make_head(number)
        for part, name, array in (("imagesTr", f"c{number}_0000", head.image), ("labelsTr", f"c{number}", head.label)):
            (root / part).mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(array.astype(np.int16), head.affine), root / part / f"{name}.nii.gz")
    labels = {"background": 0, "liver": 1, "lesion": 2}
    document = {"channel_names": {"0": "T1"}, "labels": labels, "numTraining": COUNT, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(document))


def decathlon(root: Path) -> None:
    for number in range(1, COUNT + 1):
        write_msd(root, make_head(number), number)
    write_msd_metadata(root, COUNT)


def bids(root: Path) -> None:
    for number in range(1, COUNT + 1):
        write_bids(root, make_head(number), number)
    write_bids_metadata(root, COUNT)


def dicom(root: Path) -> None:
    for number in range(1, 5):
        write_dicom(root, make_head(number), 0, number)


def _picture(path: Path, number: int, *, bright: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(number).integers(0, 90, (40, 48))
    array[10:20, 10:24] += 150 * bright
    Image.fromarray(array.astype(np.uint8)).save(path)


def pictures(root: Path) -> None:
    """Write pictures with a table of another name and other columns than medfl's own."""
    rows = ["filename,diagnosis,subject,hospital"]
    for number in range(24):
        _picture(root / "scans" / f"{number}.png", number, bright=number % 3 == 0)
        name = ("north", "south")[number // 2 % 2]
        rows.append(f"scans/{number}.png,{'sick' if number % 3 == 0 else 'well'},P{number // 2},{name}")
    (root / "labels.csv").write_text("\n".join(rows))


def pictures_with_masks(root: Path) -> None:
    rows = ["image,mask,patient"]
    for number in range(12):
        _picture(root / "images" / f"{number}.png", number, bright=True)
        mask = np.zeros((40, 48), np.uint8)
        mask[10:20, 10:24] = 255
        (root / "masks").mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(root / "masks" / f"{number}.png")
        rows.append(f"images/{number}.png,masks/{number}.png,{'' if number == 0 else 'P'}{number}")
    (root / "index.csv").write_text("\n".join(rows))


def hospitals(root: Path) -> None:
    make_nodule_images(root, hospitals=3, patients=8, size=32, seed=1)


MAKERS: dict[str, Callable[[Path], None]] = {
    each.__name__: each for each in (nnunet, decathlon, bids, dicom, pictures, pictures_with_masks, hospitals)
}
