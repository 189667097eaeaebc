"""Images that a model can predict: what matters to training alone is not told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from medfl.data.cohort import read_cohort
from medfl.data.data_folder import open_data_folder
from medfl.data.images_to_predict import find_images_to_predict
from medfl.testing.sites import make_study

STUDY = make_study("classification", task={"modality": "XR"})


def test_warnings_about_splits_are_for_training(tmp_path: Path) -> None:
    for k in range(4):
        Image.fromarray(np.full((20, 20), k * 9, dtype=np.uint8)).save(tmp_path / f"{k}.png")
    rows = "".join(f"{k}.png,{k},{'yes' if k % 2 else 'no'},{'test' if k == 3 else 'train'}\n" for k in range(4))
    (tmp_path / "index.csv").write_text("image,patient,label,fold_split\n" + rows)
    data = open_data_folder(tmp_path)
    assert "SPLIT-UNREAD" in {one.code for one in read_cohort(data.site, STUDY).findings}
    assert not {one.code for one in find_images_to_predict(data, STUDY).findings}
