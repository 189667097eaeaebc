"""The command of docs/layouts.md that makes an index of a folder for each class."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "layouts.md"


@pytest.mark.skipif(sys.platform == "win32", reason="the command is one of a POSIX shell")
def test_the_index_of_class_folders_lists_images_alone(tmp_path: Path) -> None:
    for name in ("benign/1.png", "benign/2.JPG", "malignant/3.nii.gz", "malignant/slice 4.dcm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in ("benign/.DS_Store", "benign/Thumbs.db", "benign/._1.png", "malignant/desktop.ini", "malignant/notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / ".trash").mkdir()
    (tmp_path / ".trash" / "5.png").touch()
    (command,) = re.findall(r"^```\n(python -c .*?glob.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    subprocess.run(["sh", "-c", command.replace("python", f"'{sys.executable}'", 1)], cwd=tmp_path, check=True)
    rows = (tmp_path / "index.csv").read_text().split("\n")
    assert [row.strip() for row in rows if row.strip()] == [
        "image,label",
        "benign/1.png,benign",
        "benign/2.JPG,benign",
        "malignant/3.nii.gz,malignant",
        "malignant/slice 4.dcm,malignant",
    ]
