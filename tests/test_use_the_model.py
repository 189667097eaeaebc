"""docs/use-the-model.md: its commands and its Python, one after the other, on a run of one round on made-up volumes."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "use-the-model.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
RUN = "runs/hippocampus/20260101T120000Z-abcdef"  # as the page calls it
SMALL = (
    "rounds=1",
    "network.channels='4,8'",
    "training.patch='16,16,16'",
    "training.local-epochs=1",
    "schedule.warmup-rounds=0",
)


def write_data(folder: Path) -> list[Path]:
    """Write twelve volumes with two blocks in each, as the study wants them, and return the images."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    random, rows, images = np.random.default_rng(1), ["id,group"], []
    for number in range(12):
        label = np.zeros((20, 20, 16), np.uint8)
        label[4:10, 4:14, 4:12], label[10:16, 4:14, 4:12] = 1, 2
        values = (random.normal(0, 20, label.shape) + 100 * label).astype(np.float32)
        for name, array in (("images", values), ("labels", label)):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / name / f"case-{number}.nii.gz")
        images.append(folder / "images" / f"case-{number}.nii.gz")
        rows.append(f"case-{number},group-{number % 2}")
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    return images


def call(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])


@pytest.mark.slow
def test_each_block_of_the_page_works_in_its_turn(tmp_path: Path) -> None:
    pytest.importorskip("fire", reason="python -m monai.bundle needs it")
    pytest.importorskip("ignite", reason="MONAI's evaluator needs it")
    images = write_data(tmp_path / "data")
    options = [word for setting in SMALL for word in ("-c", setting)]
    medfl = [sys.executable, "-m", "medfl"]
    call(tmp_path, *medfl, "simulate", str(ROOT / "sample_configs/hippocampus"), "--data", "data", *options)
    (made,) = (tmp_path / "runs/hippocampus").iterdir()
    made.rename(tmp_path / RUN)
    shutil.copy(tmp_path / RUN / "best.safetensors", tmp_path)
    for name in ("new-images", "IMAGES"):
        (tmp_path / name).mkdir()
        shutil.copy(images[0], tmp_path / name)
    shutil.copy(images[0], tmp_path / "image.nii.gz")
    place, ran = tmp_path, []
    for language, block in BLOCKS:
        if language == "python":
            call(tmp_path, sys.executable, "-c", block)
            ran.append("python")
            continue
        for words in map(shlex.split, block.splitlines()):
            if words[0] == "cd":
                place = tmp_path / words[1]
            elif words[0] != "pip":
                rest = [str(tmp_path / word) if word in ("IMAGES", "PREDICTIONS") else word for word in words]
                call(place, sys.executable, *(["-m", *rest] if words[0] == "medfl" else rest[1:]))
            ran.append(words[0])
    assert ran == ["medfl", "python", "medfl", "pip", "cd", "python", "python"]
    assert (tmp_path / "PREDICTIONS" / images[0].name.replace(".nii.gz", "_mask.nii.gz")).is_file()
    assert list((tmp_path / "predictions").glob("case-*.nii.gz"))
